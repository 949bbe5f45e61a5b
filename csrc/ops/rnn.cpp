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

// c (m, n) = a b + d, over row-major matrices; `a_transposed`: a is (k, m). Rows of b lie b_row elements
// apart.
struct Product {
  DType dtype;
  void operator()(int64_t m, int64_t n, int64_t k, const void* a, bool a_transposed, const void* b,
                  int64_t b_row, void* c, const void* d = nullptr, int64_t d_row = 0) const {
    GemmArgs g{.dtype = dtype, .m = m, .n = n, .k = k};
    g.a = {.data = a, .row = a_transposed ? 1 : k, .col = a_transposed ? m : 1};
    g.b = {.data = b, .row = b_row, .col = 1};
    g.c = {.data = c, .row = n, .col = 1};
    if (d) g.d = {.data = d, .row = d_row, .col = 1};
    cpu_kernels().gemm.gemm(g);
  }
};

// Sizes, and the operands dense in the dtype of the computation: half types compute in float.
struct Layer {
  RnnCell cell;
  DType dtype;
  int64_t steps, total = 0, batch, hidden, width, gate_width, kept_width;
  Tensor gates, h0, c0, weight_hh, bias_hh, weight_hr;
  IntList batch_sizes;
  bool reverse;
  std::vector<int64_t> offset;

  explicit Layer(const RnnOperands& x)
      : cell(cell_of(x.cell)),
        dtype(x.gates.dtype() == DType::float64 ? DType::float64 : DType::float32),
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
  RnnStepArgs args(int64_t rows) const {
    return {.cell = cell, .dtype = dtype, .rows = rows, .hidden = hidden, .gates = nullptr};
  }
};

void copy_bytes(void* to, const void* from, int64_t bytes) {
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

// The transposed weight with some elements between its rows: at a power of two apart they would fall into few
// sets of the caches.
struct TransposedWeight {
  Tensor memory;
  int64_t row;
  explicit TransposedWeight(const Tensor& w)
      : memory(empty(Dims{w.sizes()[1], w.sizes()[0] + 16}, w.dtype(), w.device())), row(w.sizes()[0] + 16) {
    copy_(narrow(memory, 1, 0, w.sizes()[0]), transpose(w, 0, 1));
  }
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
  const TransposedWeight weight(l.weight_hh);
  const Tensor projection = l.weight_hr ? contiguous(transpose(l.weight_hr, 0, 1)) : Tensor();
  const Product product{l.dtype};
  for (int64_t i = 0; i < l.steps; ++i) {
    const int64_t t = l.step(i), rows = l.batch_sizes[static_cast<size_t>(t)],
                  at = l.offset[static_cast<size_t>(t)];
    RnnStepArgs g = l.args(rows);
    g.gates = l.row(activated, at);
    if (gru) {
      product(rows, l.gate_width, l.width, h.data(), false, weight.memory.data(), weight.row,
              projected.data(), l.bias_hh ? l.bias_hh.data() : nullptr, 0);
      for (int64_t r = 0; r < rows; ++r)
        copy_bytes(l.row(activated, at + r), l.row(l.gates, at + r), l.bytes(1, l.gate_width));
      g.projected = projected.data();
      g.h = h.data();
    } else {
      product(rows, l.gate_width, l.width, h.data(), false, weight.memory.data(), weight.row, g.gates,
              l.row(l.gates, at), l.gate_width);
    }
    if (lstm) {
      g.c = c.data();
      g.c_out = l.row(cells, at);
    }
    g.h_out = l.weight_hr ? l.row(unprojected, at) : l.row(out, at);
    cpu_kernels().rnn.forward(g);
    if (l.weight_hr)
      product(rows, l.width, l.hidden, g.h_out, false, projection.data(), l.width, l.row(out, at));
    copy_bytes(h.data(), l.row(out, at), l.bytes(rows, l.width));
    if (lstm) copy_bytes(c.data(), g.c_out, l.bytes(rows, l.hidden));
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
  // The states before each step.
  const Tensor h_before = l.make(l.total, l.width), c_before = l.make(lstm ? l.total : 0, l.hidden);
  {
    const Tensor h = clone(l.h0), c = lstm ? clone(l.c0) : Tensor();
    for (int64_t i = 0; i < l.steps; ++i) {
      const int64_t t = l.step(i), rows = l.batch_sizes[static_cast<size_t>(t)],
                    at = l.offset[static_cast<size_t>(t)];
      copy_bytes(l.row(h_before, at), h.data(), l.bytes(rows, l.width));
      copy_bytes(h.data(), l.row(out, at), l.bytes(rows, l.width));
      if (!lstm) continue;
      copy_bytes(l.row(c_before, at), c.data(), l.bytes(rows, l.hidden));
      copy_bytes(c.data(), l.row(cells, at), l.bytes(rows, l.hidden));
    }
  }
  const Tensor dgates = l.make(l.total, l.gate_width),
               dprojected = gru ? l.make(l.total, l.gate_width) : dgates,
               d_unprojected = l.make(l.weight_hr ? l.batch : 0, l.hidden),
               direct = l.make(gru ? l.batch : 0, l.hidden);
  const Product product{l.dtype};
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
      product(rows, l.hidden, l.width, here.data(), false, l.weight_hr.data(), l.hidden,
              d_unprojected.data());
      g.grad_h = d_unprojected.data();
    }
    g.grad_gates = l.row(dgates, at);
    if (lstm) {
      g.c = l.row(c_before, at);
      g.c_out = l.row(cells, at);
      g.grad_c = dc.data();
    } else if (gru) {
      g.h = l.row(h_before, at);
      g.grad_projected = l.row(dprojected, at);
      g.grad_h_direct = direct.data();
    }
    cpu_kernels().rnn.backward(g);
    product(rows, l.width, l.gate_width, l.row(dprojected, at), false, l.weight_hh.data(), l.width, dh.data(),
            gru ? direct.data() : nullptr, l.width);
  }
  const Tensor dweight = l.make(l.gate_width, l.width),
               dprojection = l.make(l.weight_hr ? l.width : 0, l.hidden);
  product(l.gate_width, l.width, l.total, dprojected.data(), true, h_before.data(), l.width, dweight.data());
  if (l.weight_hr)
    product(l.width, l.hidden, l.total, dout.data(), true, unprojected.data(), l.hidden, dprojection.data());
  const int64_t first[] = {0};
  const Tensor dbias = l.bias_hh ? sum(dprojected, IntList(first), false, std::nullopt) : l.make(0, 0);
  auto back = [&](const Tensor& t) { return to_dtype(t, given); };
  return {back(dgates), back(dh), back(dc), back(dweight), back(dbias), back(dprojection)};
}

}  // namespace ctorch::ops
