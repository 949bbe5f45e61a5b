// Recurrent cells: branch-free formulas over the elements of a row, in loops that the compiler vectorises.
#include "kernels/rnn.h"

#include "core/parallel.h"
#include "kernels/cpu/flush_denormals.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

// The loops below carry "ivdep": the rows of the operands do not overlap, and there are too many of them for
// the compiler to check that when it runs.
constexpr int64_t kLeastElements = 1024;  // of some 5 ns each: worth a thread

template <class T>
struct Step {
  const RnnStepArgs& g;

  template <class Pointer>
  static CT_INLINE auto row(Pointer p, int64_t i, int64_t width) {
    using Element = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const T, T>;
    return static_cast<Element*>(p) + i * width;
  }

  void lstm(int64_t i) const {
    const int64_t n = g.hidden;
    T *CT_RESTRICT in = row(g.gates, i, 4 * n), *CT_RESTRICT forget = in + n, *CT_RESTRICT cell = in + 2 * n,
                   *CT_RESTRICT out = in + 3 * n;
    const T* CT_RESTRICT c = row(g.c, i, n);
    T *CT_RESTRICT c_out = row(g.c_out, i, n), *CT_RESTRICT h_out = row(g.h_out, i, n);
#pragma GCC ivdep
    for (int64_t j = 0; j < n; ++j) {
      const T a = math::sigmoid(in[j]), f = math::sigmoid(forget[j]), b = math::tanh(cell[j]),
              o = math::sigmoid(out[j]);
      const T next = f * c[j] + a * b;
      in[j] = a;
      forget[j] = f;
      cell[j] = b;
      out[j] = o;
      c_out[j] = next;
      h_out[j] = o * math::tanh(next);
    }
  }
  // The gradient of h' from the results and, if kLater, from later steps.
  template <bool kLater>
  static CT_INLINE T grad_of_h(const T* here, const T* later, int64_t j) {
    return kLater ? here[j] + later[j] : here[j];
  }
  template <bool kLater>
  void lstm_backward(int64_t i) const {
    const int64_t n = g.hidden;
    const T *CT_RESTRICT in = row(static_cast<const void*>(g.gates), i, 4 * n), *CT_RESTRICT forget = in + n,
                         *CT_RESTRICT cell = in + 2 * n, *CT_RESTRICT out = in + 3 * n;
    const T *CT_RESTRICT c = row(g.c, i, n),
                         *CT_RESTRICT c_out = row(static_cast<const void*>(g.c_out), i, n),
                         *CT_RESTRICT here = row(g.grad_h, i, n),
                         *CT_RESTRICT later = kLater ? row(g.grad_h_later, i, n) : nullptr;
    T *CT_RESTRICT grad_c = row(g.grad_c, i, n), *CT_RESTRICT d_in = row(g.grad_gates, i, 4 * n),
                   *CT_RESTRICT d_forget = d_in + n, *CT_RESTRICT d_cell = d_in + 2 * n,
                   *CT_RESTRICT d_out = d_in + 3 * n;
#pragma GCC ivdep
    for (int64_t j = 0; j < n; ++j) {
      const T t = math::tanh(c_out[j]), dh = grad_of_h<kLater>(here, later, j);
      const T dc = grad_c[j] + dh * out[j] * (1 - t * t);
      d_in[j] = dc * cell[j] * in[j] * (1 - in[j]);
      d_forget[j] = dc * c[j] * forget[j] * (1 - forget[j]);
      d_cell[j] = dc * in[j] * (1 - cell[j] * cell[j]);
      d_out[j] = dh * t * out[j] * (1 - out[j]);
      grad_c[j] = dc * forget[j];
    }
  }

  void gru(int64_t i) const {
    const int64_t n = g.hidden;
    T *CT_RESTRICT reset = row(g.gates, i, 3 * n), *CT_RESTRICT update = reset + n,
                   *CT_RESTRICT fresh = reset + 2 * n, *CT_RESTRICT kept = row(g.kept, i, n);
    const T *CT_RESTRICT from_reset = row(g.projected, i, 3 * n), *CT_RESTRICT from_update = from_reset + n,
                         *CT_RESTRICT from_fresh = from_reset + 2 * n, *CT_RESTRICT h = row(g.h, i, n);
    T* CT_RESTRICT h_out = row(g.h_out, i, n);
#pragma GCC ivdep
    for (int64_t j = 0; j < n; ++j) {
      const T r = math::sigmoid(reset[j] + from_reset[j]), z = math::sigmoid(update[j] + from_update[j]);
      const T b = math::tanh(fresh[j] + r * from_fresh[j]);
      kept[j] = from_fresh[j];
      reset[j] = r;
      update[j] = z;
      fresh[j] = b;
      h_out[j] = b + z * (h[j] - b);
    }
  }
  template <bool kLater>
  void gru_backward(int64_t i) const {
    const int64_t n = g.hidden;
    const T *CT_RESTRICT reset = row(static_cast<const void*>(g.gates), i, 3 * n),
                         *CT_RESTRICT update = reset + n, *CT_RESTRICT fresh = reset + 2 * n,
                         *CT_RESTRICT kept = row(static_cast<const void*>(g.kept), i, n);
    const T *CT_RESTRICT h = row(g.h, i, n), *CT_RESTRICT here = row(g.grad_h, i, n),
                         *CT_RESTRICT later = kLater ? row(g.grad_h_later, i, n) : nullptr;
    T *CT_RESTRICT d_reset = row(g.grad_gates, i, 3 * n), *CT_RESTRICT d_update = d_reset + n,
                   *CT_RESTRICT d_fresh = d_reset + 2 * n;
    T *CT_RESTRICT p_reset = row(g.grad_projected, i, 3 * n), *CT_RESTRICT p_update = p_reset + n,
                   *CT_RESTRICT p_fresh = p_reset + 2 * n, *CT_RESTRICT direct = row(g.grad_h_direct, i, n);
#pragma GCC ivdep
    for (int64_t j = 0; j < n; ++j) {
      const T r = reset[j], z = update[j], b = fresh[j], d = grad_of_h<kLater>(here, later, j);
      const T db = d * (1 - z) * (1 - b * b), dz = d * (h[j] - b) * z * (1 - z),
              dr = db * kept[j] * r * (1 - r);
      d_reset[j] = p_reset[j] = dr;
      d_update[j] = p_update[j] = dz;
      d_fresh[j] = db;
      p_fresh[j] = db * r;
      direct[j] = d * z;
    }
  }

  template <bool kTanh>
  void simple(int64_t i) const {
    T *CT_RESTRICT gates = row(g.gates, i, g.hidden), *CT_RESTRICT h_out = row(g.h_out, i, g.hidden);
    for (int64_t j = 0; j < g.hidden; ++j) {
      const T x = gates[j], y = kTanh ? math::tanh(x) : x < 0 ? T(0) : x;
      gates[j] = y;
      h_out[j] = y;
    }
  }
  template <bool kTanh, bool kLater>
  void simple_backward(int64_t i) const {
    const int64_t n = g.hidden;
    const T *CT_RESTRICT y = row(static_cast<const void*>(g.gates), i, n),
                         *CT_RESTRICT here = row(g.grad_h, i, n),
                         *CT_RESTRICT later = kLater ? row(g.grad_h_later, i, n) : nullptr;
    T* CT_RESTRICT d = row(g.grad_gates, i, n);
    for (int64_t j = 0; j < n; ++j) {
      const T dh = grad_of_h<kLater>(here, later, j);
      d[j] = kTanh ? dh * (1 - y[j] * y[j]) : y[j] > 0 ? dh : T(0);
    }
  }

  void run(void (Step::*of_row)(int64_t) const) const {
    parallel_for(0, g.rows, 1 + kLeastElements / (g.hidden + 1), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) (this->*of_row)(i);
    });
  }
  void forward() const {
    switch (g.cell) {
      case RnnCell::lstm: return run(&Step::lstm);
      case RnnCell::gru: return run(&Step::gru);
      case RnnCell::tanh: return run(&Step::template simple<true>);
      case RnnCell::relu: return run(&Step::template simple<false>);
    }
  }
  template <bool kLater>
  void backward() const {
    switch (g.cell) {
      case RnnCell::lstm: return run(&Step::template lstm_backward<kLater>);
      case RnnCell::gru: return run(&Step::template gru_backward<kLater>);
      case RnnCell::tanh: return run(&Step::template simple_backward<true, kLater>);
      case RnnCell::relu: return run(&Step::template simple_backward<false, kLater>);
    }
  }
};

void forward(const RnnStepArgs& g) {
  FlushDenormals flush;
  g.dtype == DType::float64 ? Step<double>{g}.forward() : Step<float>{g}.forward();
}
template <class T>
void backward_of(const Step<T>& step) {
  step.g.grad_h_later ? step.template backward<true>() : step.template backward<false>();
}
void backward(const RnnStepArgs& g) {
  FlushDenormals flush;
  g.dtype == DType::float64 ? backward_of(Step<double>{g}) : backward_of(Step<float>{g});
}

}  // namespace

void fill_rnn(RnnTable& table) {
  table.forward = forward;
  table.backward = backward;
}

}  // namespace ctorch::CT_ISA
