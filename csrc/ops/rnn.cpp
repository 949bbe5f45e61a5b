#include "ops/rnn.h"

#include <algorithm>
#include <cstring>

#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
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
  DType dtype;
  // bfloat16 weights lose nothing where products round to it; states and gradients are rounded as results
  // are.
  GemmPrecision precision;
  int64_t steps, total = 0, batch, hidden, width, gate_width, kept_width;
  Tensor gates, h0, c0, weight_hh, bias_hh, weight_hr;
  IntList batch_sizes;
  bool reverse;
  std::vector<int64_t> offset;

  explicit Layer(const RnnOperands& x)
      : cell(cell_of(x.cell)),
        dtype(x.gates.dtype() == DType::float64 ? DType::float64 : DType::float32),
        precision(x.gates.dtype() == DType::bfloat16 ? GemmPrecision::medium : GemmPrecision::highest),
        steps(static_cast<int64_t>(x.batch_sizes.size())),
        batch_sizes(x.batch_sizes),
        reverse(x.reverse) {
    check(is_floating(x.gates.dtype()), kOp, ": expected a floating dtype, got ", x.gates.dtype());
    check(x.gates.dim() == 2 && x.h0.dim() == 2 && x.weight_hh.dim() == 2, kOp,
          ": expected matrices, got gates ", x.gates.sizes(), ", h0 ", x.h0.sizes(), " and weight_hh ",
          x.weight_hh.sizes());
    for (const Tensor* t : {&x.h0, &x.weight_hh})
      check(t->dtype() == x.gates.dtype(), kOp, ": expected one dtype, got ", x.gates.dtype(), " and ",
            t->dtype());
    batch = x.h0.sizes()[0];
    width = x.h0.sizes()[1];
    gate_width = x.gates.sizes()[1];
    const int64_t count = cell == RnnCell::lstm ? 4 : cell == RnnCell::gru ? 3 : 1;
    hidden = gate_width / count;
    kept_width = cell == RnnCell::gru ? 4 * hidden : gate_width;
    int64_t before = batch;
    for (int64_t size : batch_sizes) {
      check(size >= 1 && size <= before, kOp, ": batch_sizes must fall from at most ", batch,
            " and stay positive, got ", size, " after ", before);
      offset.push_back(total);
      total += size;
      before = size;
    }
    check(x.gates.sizes()[0] == total && gate_width == count * hidden &&
              x.weight_hh.sizes() == Dims{gate_width, width} && (x.weight_hr || width == hidden),
          kOp, ": gates ", x.gates.sizes(), ", h0 ", x.h0.sizes(), " and weight_hh ", x.weight_hh.sizes(),
          " do not fit ", total, " rows of ", count, " gates");
    auto dense = [&](const Tensor& t) { return contiguous(to_dtype(t, dtype)); };
    auto optional = [&](const OptionalTensor& t, const Dims& sizes, const char* name) {
      if (!t) return Tensor();
      check(t->sizes() == sizes && t->dtype() == x.gates.dtype(), kOp, ": expected ", name, " of shape ",
            sizes, " and dtype ", x.gates.dtype(), ", got ", *t);
      return dense(*t);
    };
    gates = dense(x.gates);
    h0 = dense(x.h0);
    weight_hh = dense(x.weight_hh);
    c0 = optional(x.c0, Dims{batch, hidden}, "c0");
    bias_hh = optional(x.bias_hh, Dims{gate_width}, "bias_hh");
    weight_hr = optional(x.weight_hr, Dims{width, hidden}, "weight_hr");
    check(static_cast<bool>(c0) == (cell == RnnCell::lstm), kOp, ": c0 belongs to 'lstm'");
  }

  Tensor make(int64_t rows, int64_t cols) const { return empty(Dims{rows, cols}, dtype, gates.device()); }
  char* row(const Tensor& t, int64_t i) const { return t.data() + i * t.sizes()[1] * t.item_size(); }
  int64_t bytes(int64_t rows, int64_t cols) const { return rows * cols * item_size(dtype); }
  // The i-th step that is run, by its place in time.
  int64_t step(int64_t i) const { return reverse ? steps - 1 - i : i; }
  // The state before the i-th step that is run: among the results of the step before, or, where a sequence
  // may begin at any step, in `state`.
  const char* before(int64_t i, const Tensor& state, const Tensor& results) const {
    return i == 0 || reverse ? state.data() : row(results, offset[static_cast<size_t>(i - 1)]);
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
// that anew in every step takes as long as multiplying the few rows of a step.
class StepWeight {
 public:
  // w is (k, n) if row_major, else (n, k).
  StepWeight(const Layer& l, const Tensor& w, bool row_major)
      : b_(row_major ? w : transpose(w, 0, 1)), precision_(l.precision) {
    const GemmTable& kernels = cpu_kernels().gemm;
    const GemmArgs g = product(1);
    const int64_t bytes = kernels.prepared_bytes(g);
    if (bytes == 0) {  // small
      b_ = contiguous(b_);
    } else {
      form_ = empty(Dims{bytes}, DType::uint8, w.device());
      kernels.prepare(g, form_.data());
    }
  }

  // c (m, n) = a (m, k) times the matrix + d: row-major, dense but for the rows of d, which lie d_row apart.
  void multiply(int64_t m, const void* a, void* c, const void* d = nullptr, int64_t d_row = 0) const {
    GemmArgs g = product(m);
    g.a.data = a;
    g.c.data = c;
    if (d) g.d = {.data = d, .row = d_row, .col = 1};
    g.prepared = form_ ? form_.data() : nullptr;
    cpu_kernels().gemm.gemm(g);
  }

 private:
  GemmArgs product(int64_t m) const {
    GemmArgs g{.dtype = b_.dtype(), .m = m, .n = b_.sizes()[1], .k = b_.sizes()[0]};
    g.a.row = g.k, g.a.col = 1;
    g.b = {.data = b_.data(), .row = b_.strides()[0], .col = b_.strides()[1]};
    g.c.row = g.n, g.c.col = 1;
    g.precision = precision_;
    g.always_prepared = true;
    return g;
  }

  Tensor b_, form_;
  GemmPrecision precision_;
};

}  // namespace

Tensor6 rnn_layer(const RnnOperands& x) {
  const Layer l(x);
  const DType given = x.gates.dtype();
  const bool lstm = l.cell == RnnCell::lstm, gru = l.cell == RnnCell::gru;
  const Tensor out = l.make(l.total, l.width), activated = l.make(l.total, l.kept_width),
               cells = l.make(lstm ? l.total : 0, l.hidden),
               unprojected = l.make(l.weight_hr ? l.total : 0, l.hidden), h = clone(l.h0),
               c = lstm ? clone(l.c0) : l.make(0, l.hidden),
               projected = l.make(gru ? l.batch : 0, l.gate_width);
  const StepWeight weight(l, l.weight_hh, false);
  std::optional<StepWeight> projection;
  if (l.weight_hr) projection.emplace(l, l.weight_hr, false);
  for (int64_t i = 0; i < l.steps; ++i) {
    const int64_t t = l.step(i), rows = l.batch_sizes[static_cast<size_t>(t)],
                  at = l.offset[static_cast<size_t>(t)];
    const void *h_before = l.before(i, h, out), *c_before = lstm ? l.before(i, c, cells) : nullptr;
    RnnStepArgs g = l.args(rows);
    g.gates = l.row(activated, at);
    if (gru) {
      weight.multiply(rows, h_before, projected.data(), l.bias_hh ? l.bias_hh.data() : nullptr);
      for (int64_t r = 0; r < rows; ++r)
        copy_bytes(l.row(activated, at + r), l.row(l.gates, at + r), l.bytes(1, l.gate_width));
      g.projected = projected.data();
      g.h = h_before;
    } else {
      weight.multiply(rows, h_before, g.gates, l.row(l.gates, at), l.gate_width);
    }
    if (lstm) {
      g.c = c_before;
      g.c_out = l.row(cells, at);
    }
    g.h_out = l.weight_hr ? l.row(unprojected, at) : l.row(out, at);
    cpu_kernels().rnn.forward(g);
    if (l.weight_hr) projection->multiply(rows, g.h_out, l.row(out, at));
    // The states of rows that go no further, or of all rows where states are not found in the results.
    const int64_t stay = l.reverse || i + 1 == l.steps ? 0 : l.batch_sizes[static_cast<size_t>(t + 1)];
    copy_bytes(l.row(h, stay), l.row(out, at + stay), l.bytes(rows - stay, l.width));
    if (lstm) copy_bytes(l.row(c, stay), l.row(cells, at + stay), l.bytes(rows - stay, l.hidden));
  }
  return {to_dtype(out, given), to_dtype(h, given), to_dtype(c, given), activated, cells, unprojected};
}

Tensor6 rnn_layer_backward(const OptionalTensor& grad_out, const OptionalTensor& grad_h,
                           const OptionalTensor& grad_c, const RnnOperands& x, const Tensor& out_given,
                           const Tensor& activated, const Tensor& cells, const Tensor& unprojected) {
  const Layer l(x);
  const DType given = x.gates.dtype();
  const bool lstm = l.cell == RnnCell::lstm, gru = l.cell == RnnCell::gru;
  const Tensor out = contiguous(to_dtype(out_given, l.dtype));
  auto gradient = [&](const OptionalTensor& grad, int64_t rows, int64_t cols) {
    return grad ? clone(contiguous(to_dtype(*grad, l.dtype))) : zero_(l.make(rows, cols));
  };
  const Tensor dout = gradient(grad_out, l.total, l.width), dh = gradient(grad_h, l.batch, l.width),
               dc = lstm ? gradient(grad_c, l.batch, l.hidden) : l.make(0, l.hidden);
  // The states before each step, as matrices, where the results are not those matrices but for the first
  // step.
  const bool shifted = !l.reverse && l.steps > 0 && l.batch_sizes.back() == l.batch;
  const Tensor h_before = l.make(shifted ? 0 : l.total, l.width),
               c_before = l.make(lstm && l.reverse ? l.total : 0, l.hidden);
  auto collect = [&](const Tensor& to, const Tensor& first, const Tensor& results) {
    const Tensor state = clone(first);
    const int64_t n = results.sizes()[1];
    for (int64_t i = 0; i < l.steps; ++i) {
      const int64_t t = l.step(i), rows = l.batch_sizes[static_cast<size_t>(t)],
                    at = l.offset[static_cast<size_t>(t)];
      copy_bytes(l.row(to, at), state.data(), l.bytes(rows, n));
      copy_bytes(state.data(), l.row(results, at), l.bytes(rows, n));
    }
  };
  if (!shifted) collect(h_before, l.h0, out);
  if (lstm && l.reverse) collect(c_before, l.c0, cells);
  const Tensor dgates = l.make(l.total, l.gate_width),
               dprojected = gru ? l.make(l.total, l.gate_width) : dgates,
               d_unprojected = l.make(l.weight_hr ? l.batch : 0, l.hidden),
               direct = l.make(gru ? l.batch : 0, l.hidden);
  const StepWeight weight(l, l.weight_hh, true);
  std::optional<StepWeight> projection;
  if (l.weight_hr) projection.emplace(l, l.weight_hr, true);
  for (int64_t i = l.steps - 1; i >= 0; --i) {
    const int64_t t = l.step(i), rows = l.batch_sizes[static_cast<size_t>(t)],
                  at = l.offset[static_cast<size_t>(t)];
    // What reaches h after this step: through the steps that follow, and as an output.
    const Tensor here = narrow(dout, 0, at, rows);
    add(here, narrow(dh, 0, 0, rows), int64_t{1}, Out{&here, true});
    RnnStepArgs g = l.args(rows);
    g.gates = l.row(activated, at);
    g.grad_h = here.data();
    if (l.weight_hr) {
      projection->multiply(rows, here.data(), d_unprojected.data());
      g.grad_h = d_unprojected.data();
    }
    g.grad_gates = l.row(dgates, at);
    if (lstm) {
      g.c = l.reverse ? l.row(c_before, at) : l.before(i, l.c0, cells);
      g.c_out = l.row(cells, at);
      g.grad_c = dc.data();
    } else if (gru) {
      g.h = shifted ? l.before(i, l.h0, out) : l.row(h_before, at);
      g.grad_projected = l.row(dprojected, at);
      g.grad_h_direct = direct.data();
    }
    cpu_kernels().rnn.backward(g);
    weight.multiply(rows, l.row(dprojected, at), dh.data(), gru ? direct.data() : nullptr, l.width);
  }
  const Tensor dweight = l.make(l.gate_width, l.width),
               dprojection = l.make(l.weight_hr ? l.width : 0, l.hidden);
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
  const int64_t first[] = {0};
  const Tensor dbias = l.bias_hh ? sum(dprojected, IntList(first), false, std::nullopt) : l.make(0, 0);
  auto back = [&](const Tensor& t) { return to_dtype(t, given); };
  return {back(dgates), back(dh), back(dc), back(dweight), back(dbias), back(dprojection)};
}

}  // namespace ctorch::ops
