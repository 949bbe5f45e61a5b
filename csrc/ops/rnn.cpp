#include "ops/rnn.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "core/prepared.h"
#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

constexpr const char* kOp = "rnn_layer";

RnnCell cell_of(const std::string& name) {
  if (name == "lstm") return RnnCell::lstm;
  if (name == "gru") return RnnCell::gru;
  if (name == "tanh") return RnnCell::tanh;
  check_value(name == "relu", kOp, ": expected cell 'lstm', 'gru', 'tanh' or 'relu', got '", name, "'");
  return RnnCell::relu;
}

// Sizes, and the operands dense in the dtype of the computation: half types compute in float.
struct Layer {
  RnnCell cell;
  DType given, dtype;
  // bfloat16 weights lose nothing where products round to it; states and gradients are rounded as results
  // are.
  GemmPrecision precision;
  int64_t steps, total = 0, batch, hidden, width, gate_width;
  Tensor h0, c0, weight_hh, bias_hh, weight_hr;
  IntList batch_sizes;
  bool reverse;
  std::vector<int64_t> offset;

  explicit Layer(const RnnOperands& x)
      : cell(cell_of(x.cell)),
        given(x.data.dtype()),
        dtype(given == DType::float64 ? DType::float64 : DType::float32),
        precision(given == DType::bfloat16 ? GemmPrecision::medium : GemmPrecision::highest),
        steps(static_cast<int64_t>(x.batch_sizes.size())),
        batch_sizes(x.batch_sizes),
        reverse(x.reverse) {
    check(is_floating(given), kOp, ": expected a floating dtype, got ", given);
    check(x.data.dim() == 2 && x.h0.dim() == 2 && x.weight_ih.dim() == 2 && x.weight_hh.dim() == 2, kOp,
          ": expected matrices, got data ", x.data.sizes(), ", h0 ", x.h0.sizes(), ", weight_ih ",
          x.weight_ih.sizes(), " and weight_hh ", x.weight_hh.sizes());
    for (const Tensor* t : {&x.h0, &x.weight_ih, &x.weight_hh})
      check(t->dtype() == given, kOp, ": expected one dtype, got ", given, " and ", t->dtype());
    batch = x.h0.sizes()[0];
    width = x.h0.sizes()[1];
    gate_width = x.weight_hh.sizes()[0];
    const int64_t count = cell == RnnCell::lstm ? 4 : cell == RnnCell::gru ? 3 : 1;
    hidden = gate_width / count;
    int64_t before = batch;
    for (int64_t size : batch_sizes) {
      check(size >= 1 && size <= before, kOp, ": batch_sizes must fall from at most ", batch,
            " and stay positive, got ", size, " after ", before);
      offset.push_back(total);
      total += size;
      before = size;
    }
    check(x.data.sizes()[0] == total && gate_width == count * hidden &&
              x.weight_ih.sizes() == Dims{gate_width, x.data.sizes()[1]} && x.weight_hh.sizes()[1] == width &&
              (x.weight_hr || width == hidden),
          kOp, ": data ", x.data.sizes(), ", h0 ", x.h0.sizes(), ", weight_ih ", x.weight_ih.sizes(),
          " and weight_hh ", x.weight_hh.sizes(), " do not fit ", total, " rows of ", count, " gates");
    auto dense = [&](const Tensor& t) { return contiguous(to_dtype(t, dtype)); };
    auto optional = [&](const OptionalTensor& t, const Dims& sizes, const char* name) {
      if (!t) return Tensor();
      check(t->sizes() == sizes && t->dtype() == given, kOp, ": expected ", name, " of shape ", sizes,
            " and dtype ", given, ", got ", *t);
      return dense(*t);
    };
    h0 = dense(x.h0);
    weight_hh = dense(x.weight_hh);
    c0 = optional(x.c0, Dims{batch, hidden}, "c0");
    optional(x.bias_ih, Dims{gate_width}, "bias_ih");
    bias_hh = optional(x.bias_hh, Dims{gate_width}, "bias_hh");
    weight_hr = optional(x.weight_hr, Dims{width, hidden}, "weight_hr");
    check(static_cast<bool>(c0) == (cell == RnnCell::lstm), kOp, ": c0 belongs to 'lstm'");
    check(!weight_hr || cell == RnnCell::lstm, kOp, ": weight_hr belongs to 'lstm'");
  }

  Tensor make(int64_t rows, int64_t cols) const { return empty(Dims{rows, cols}, dtype, h0.device()); }
  Tensor make_if(bool needed, int64_t rows, int64_t cols) const { return make(needed ? rows : 0, cols); }
  char* row(const Tensor& t, int64_t i) const { return t.data() + i * t.sizes()[1] * t.item_size(); }
  int64_t bytes(int64_t rows, int64_t cols) const { return rows * cols * item_size(dtype); }
  // The i-th step that is run, by its place in time.
  int64_t step(int64_t i) const { return reverse ? steps - 1 - i : i; }
  int64_t rows_at(int64_t t) const { return batch_sizes[static_cast<size_t>(t)]; }
  int64_t offset_at(int64_t t) const { return offset[static_cast<size_t>(t)]; }
  // The state of sequence r and those after it before the i-th step that is run: among the results of the
  // step before, or, where a sequence may begin at any step, in `state`.
  const char* before(int64_t i, int64_t r, const Tensor& state, const Tensor& results) const {
    return i == 0 || reverse ? row(state, r) : row(results, offset_at(i - 1) + r);
  }
  RnnStepArgs args(int64_t rows) const {
    return {.cell = cell, .dtype = dtype, .rows = rows, .hidden = hidden, .gates = nullptr};
  }
};

// c (m, n) = a^T b, or c += a^T b, over row-major matrices; a is (k, m).
void transposed_product(const Layer& l, int64_t m, int64_t n, int64_t k, const void* a, const void* b,
                        void* c, bool add = false) {
  GemmArgs g{.dtype = l.dtype, .m = m, .n = n, .k = k};
  g.a = {.data = a, .row = 1, .col = m};
  g.b = {.data = b, .row = n, .col = 1};
  g.c = {.data = c, .row = n, .col = 1};
  if (add) g.d = {.data = c, .row = n, .col = 1};
  g.precision = l.precision;
  cpu_kernels().gemm.gemm(g);
}

void copy_bytes(void* to, const void* from, int64_t bytes) {
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

// A matrix (k, n) that every step multiplies by, brought once into the form in which products read it: to do
// that anew in every step takes as long as multiplying the few rows of a step. The form is kept with a weight
// that is used again without a write.
class StepWeight {
 public:
  // Of `weight`, which is `dense` in the dtype of the computation: (k, n) if row_major, else (n, k).
  StepWeight(const Layer& l, const Tensor& weight, const Tensor& dense, bool row_major)
      : b_(row_major ? dense : transpose(dense, 0, 1)), precision_(l.precision) {
    constexpr int64_t kFewRows = 16;  // products of no more read the matrix as it is
    const GemmTable& kernels = cpu_kernels().gemm;
    GemmArgs g = product(1);
    g.always_prepared = true;
    if (l.total <= kFewRows) return;
    const int64_t bytes = kernels.prepared_bytes(g);
    if (bytes == 0) {  // small
      b_ = contiguous(b_);
      return;
    }
    // The first number tells these forms from those of other products.
    kept_ = prepared_form(weight, {-1, row_major, static_cast<int64_t>(precision_)}, bytes,
                          [&](void* to) { kernels.prepare(g, to); });
    if (!kept_) {
      own_ = empty(Dims{bytes}, DType::uint8, dense.device());
      kernels.prepare(g, own_.data());
    }
    form_ = kept_ ? kept_->data() : own_.data();
  }

  // c (m, n) = a (m, k) times the matrix + d, all row-major and dense.
  void multiply(int64_t m, const void* a, void* c, const void* d = nullptr, int64_t d_row = 0) const {
    GemmArgs g = product(m);
    g.a.data = a;
    g.c.data = c;
    if (d) g.d = {.data = d, .row = d_row, .col = 1};
    g.prepared = form_;
    g.always_prepared = is_prepared();
    cpu_kernels().gemm.gemm(g);
  }
  bool is_prepared() const { return form_ != nullptr; }
  int64_t bytes() const { return b_.numel() * b_.item_size(); }

 private:
  GemmArgs product(int64_t m) const {
    GemmArgs g{.dtype = b_.dtype(), .m = m, .n = b_.sizes()[1], .k = b_.sizes()[0]};
    g.a.row = g.k, g.a.col = 1;
    g.b = {.data = b_.data(), .row = b_.strides()[0], .col = b_.strides()[1]};
    g.c.row = g.n, g.c.col = 1;
    g.precision = precision_;
    return g;
  }

  Tensor b_, own_;
  PreparedForm kept_;
  const void* form_ = nullptr;
  GemmPrecision precision_;
};

// The sequences of a batch do not depend on each other. If there are enough of them, and every core's caches
// hold the matrix, each thread takes some through all steps: it never waits for the others, and what it reads
// was written by itself. Else all threads work on each step. An element has the same bits either way, as
// it has in a product by a prepared matrix for any number of rows (but for those beside infinities, NaN and
// numbers too large for AMX tiles: all rows of such a product go another way).
template <class Body>
void for_sequences(const Layer& l, const StepWeight& weight, const std::optional<StepWeight>& projection,
                   const Body& body) {
  constexpr int64_t kLeastRows = 8, kMostBytes = int64_t{4} << 20;
  const int64_t threads = in_parallel_region() ? 1 : num_threads();
  const bool prepared = weight.is_prepared() && (!projection || projection->is_prepared());
  if (threads == 1 || !prepared || l.total < kLeastRows * threads * l.steps || weight.bytes() > kMostBytes) {
    return body(0, l.batch);
  }
  // Bounds between which threads have as many rows of all steps each; sequences are of falling length.
  std::vector<int64_t> bounds{0};
  int64_t done = 0, length = l.steps;
  for (int64_t r = 0; r < l.batch; ++r) {
    while (length > 0 && l.rows_at(length - 1) <= r) --length;
    done += length;
    if (done * threads >= l.total * static_cast<int64_t>(bounds.size())) bounds.push_back(r + 1);
  }
  bounds.back() = l.batch;
  parallel_for(0, static_cast<int64_t>(bounds.size()) - 1, 1, [&](int64_t from, int64_t to) {
    body(bounds[static_cast<size_t>(from)], bounds[static_cast<size_t>(to)]);
  });
}

// What the input adds to the gates, in a tensor of its own: but for the gru, where one gate comes between,
// both biases are in it.
Tensor gates_of_input(const Layer& l, const RnnOperands& x) {
  OptionalTensor bias = x.bias_ih;
  if (l.cell != RnnCell::gru && x.bias_hh)
    bias = bias ? add(*bias, *x.bias_hh, int64_t{1}, Out{}) : *x.bias_hh;
  return contiguous(to_dtype(linear(x.data, x.weight_ih, bias), l.dtype));
}

}  // namespace

RnnResults rnn_layer(const RnnOperands& x) {
  const Layer l(x);
  const bool lstm = l.cell == RnnCell::lstm, gru = l.cell == RnnCell::gru;
  const Tensor activated = gates_of_input(l, x), out = l.make(l.total, l.width),
               cells = l.make_if(lstm || gru, l.total, l.hidden),
               unprojected = l.make_if(!!l.weight_hr, l.total, l.hidden), h = clone(l.h0),
               c = lstm ? clone(l.c0) : l.make(0, l.hidden),
               projected = l.make_if(gru, l.batch, l.gate_width);
  const StepWeight weight(l, x.weight_hh, l.weight_hh, false);
  std::optional<StepWeight> projection;
  if (l.weight_hr) projection.emplace(l, *x.weight_hr, l.weight_hr, false);
  for_sequences(l, weight, projection, [&](int64_t from, int64_t to) {
    for (int64_t i = 0; i < l.steps; ++i) {
      const int64_t t = l.step(i), end = std::min(to, l.rows_at(t)), rows = end - from,
                    at = l.offset_at(t) + from;
      if (rows <= 0) continue;
      const void* h_before = l.before(i, from, h, out);
      RnnStepArgs g = l.args(rows);
      g.gates = l.row(activated, at);
      if (gru) {
        weight.multiply(rows, h_before, l.row(projected, from), l.bias_hh ? l.bias_hh.data() : nullptr);
        g.projected = l.row(projected, from);
        g.kept = l.row(cells, at);
        g.h = h_before;
      } else {
        weight.multiply(rows, h_before, g.gates, g.gates, l.gate_width);
      }
      if (lstm) {
        g.c = l.before(i, from, c, cells);
        g.c_out = l.row(cells, at);
      }
      g.h_out = l.row(l.weight_hr ? unprojected : out, at);
      cpu_kernels().rnn.forward(g);
      if (l.weight_hr) projection->multiply(rows, g.h_out, l.row(out, at));
      // The states of rows that go no further, or of all rows where states are not found in the results.
      const int64_t stay = l.reverse || i + 1 == l.steps ? from : std::clamp(l.rows_at(t + 1), from, end);
      copy_bytes(l.row(h, stay), l.row(out, at + stay - from), l.bytes(end - stay, l.width));
      if (lstm) copy_bytes(l.row(c, stay), l.row(cells, at + stay - from), l.bytes(end - stay, l.hidden));
    }
  });
  auto back = [&](const Tensor& t) { return to_dtype(t, l.given); };
  return {back(out), back(h), back(c), activated, cells, unprojected};
}

RnnGradients rnn_layer_backward(const OptionalTensor& grad_out, const OptionalTensor& grad_h,
                                const OptionalTensor& grad_c, const RnnOperands& x, const Tensor& out_given,
                                const Tensor& activated, const Tensor& cells, const Tensor& unprojected,
                                bool grad_data, bool grad_weights) {
  const Layer l(x);
  const bool lstm = l.cell == RnnCell::lstm, gru = l.cell == RnnCell::gru;
  const Tensor out = contiguous(to_dtype(out_given, l.dtype));
  auto gradient = [&](const OptionalTensor& grad, int64_t rows, int64_t cols) {
    return grad ? contiguous(to_dtype(*grad, l.dtype)) : zero_(l.make(rows, cols));
  };
  // Of the state before the step at hand, as far as it comes through later steps: at first what was given.
  const Tensor dh = clone(gradient(grad_h, l.batch, l.width)),
               dc = lstm ? clone(gradient(grad_c, l.batch, l.hidden)) : l.make(0, l.hidden);
  Tensor dout = gradient(grad_out, l.total, l.width);
  if (l.weight_hr) dout = clone(dout);  // takes what comes through later steps, too
  // The states before each step, as matrices, where the results are not those matrices but for the first
  // step.
  const bool shifted = !l.reverse && l.steps > 0 && l.rows_at(l.steps - 1) == l.batch;
  const Tensor h_before = l.make_if(!shifted, l.total, l.width),
               c_before = l.make_if(lstm && l.reverse, l.total, l.hidden);
  auto collect = [&](const Tensor& to, const Tensor& first, const Tensor& results) {
    const Tensor state = clone(first);
    const int64_t n = results.sizes()[1];
    for (int64_t i = 0; i < l.steps; ++i) {
      const int64_t t = l.step(i), rows = l.rows_at(t), at = l.offset_at(t);
      copy_bytes(l.row(to, at), state.data(), l.bytes(rows, n));
      copy_bytes(state.data(), l.row(results, at), l.bytes(rows, n));
    }
  };
  if (!shifted) collect(h_before, l.h0, out);
  if (lstm && l.reverse) collect(c_before, l.c0, cells);
  const Tensor dgates = l.make(l.total, l.gate_width),
               dprojected = gru ? l.make(l.total, l.gate_width) : dgates,
               d_unprojected = l.make_if(!!l.weight_hr, l.batch, l.hidden),
               direct = l.make_if(gru, l.batch, l.hidden);
  const StepWeight weight(l, x.weight_hh, l.weight_hh, true);
  std::optional<StepWeight> projection;
  if (l.weight_hr) projection.emplace(l, *x.weight_hr, l.weight_hr, true);
  for_sequences(l, weight, projection, [&](int64_t from, int64_t to) {
    for (int64_t i = l.steps - 1; i >= 0; --i) {
      const int64_t t = l.step(i), rows = std::min(to, l.rows_at(t)) - from, at = l.offset_at(t) + from;
      if (rows <= 0) continue;
      RnnStepArgs g = l.args(rows);
      g.gates = l.row(activated, at);
      g.grad_h = l.row(dout, at);
      g.grad_h_later = l.row(dh, from);
      if (l.weight_hr) {
        const Tensor here = narrow(dout, 0, at, rows);
        add(here, narrow(dh, 0, from, rows), int64_t{1}, Out{&here, true});
        projection->multiply(rows, here.data(), l.row(d_unprojected, from));
        g.grad_h = l.row(d_unprojected, from);
        g.grad_h_later = nullptr;
      }
      g.grad_gates = l.row(dgates, at);
      if (lstm) {
        g.c = l.reverse ? l.row(c_before, at) : l.before(i, from, l.c0, cells);
        g.c_out = l.row(cells, at);
        g.grad_c = l.row(dc, from);
      } else if (gru) {
        g.h = shifted ? l.before(i, from, l.h0, out) : l.row(h_before, at);
        g.kept = l.row(cells, at);
        g.grad_projected = l.row(dprojected, at);
        g.grad_h_direct = l.row(direct, from);
      }
      cpu_kernels().rnn.backward(g);
      weight.multiply(rows, l.row(dprojected, at), l.row(dh, from), gru ? l.row(direct, from) : nullptr,
                      l.width);
    }
  });
  const Tensor dweight = l.make_if(grad_weights, l.gate_width, l.width),
               dprojection = l.make_if(grad_weights && l.weight_hr, l.width, l.hidden);
  if (grad_weights) {
    const int64_t first_rows = shifted ? l.batch : l.total;
    transposed_product(l, l.gate_width, l.width, first_rows, dprojected.data(),
                       shifted ? l.h0.data() : h_before.data(), dweight.data());
    if (first_rows < l.total) {
      transposed_product(l, l.gate_width, l.width, l.total - first_rows, l.row(dprojected, first_rows),
                         out.data(), dweight.data(), true);
    }
    if (l.weight_hr) {
      transposed_product(l, l.width, l.hidden, l.total, dout.data(), unprojected.data(), dprojection.data());
    }
  }
  auto back = [&](const Tensor& t) { return to_dtype(t, l.given); };
  const Tensor none = l.make(0, 0), d_input = back(dgates);
  const Tensor ddata = grad_data ? mm(d_input, x.weight_ih) : none,
               dweight_ih = grad_weights ? mm(transpose(d_input, 0, 1), x.data) : none;
  auto bias_gradient = [&](const OptionalTensor& bias, const Tensor& of) {
    const int64_t first[] = {0};
    return bias ? back(sum(of, IntList(first), false, std::nullopt)) : none;
  };
  const Tensor dbias_ih = bias_gradient(x.bias_ih, dgates);
  const Tensor dbias_hh =
      x.bias_ih && x.bias_hh && !gru ? clone(dbias_ih) : bias_gradient(x.bias_hh, dprojected);
  return {ddata, back(dh), back(dc), dweight_ih, back(dweight), dbias_ih, dbias_hh, back(dprojection)};
}

}  // namespace ctorch::ops
