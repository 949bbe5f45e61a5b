// Optimizer steps. The formulas and their operands: kernels/update.h. Each element's new state is written
// before the parameter is computed from it, as a half type rounds it on the way, and PyTorch's steps do too.
#include "kernels/update.h"

#include "core/macros.h"

namespace ctorch::CT_ISA {
namespace {

CT_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
CT_INLINE double square_root(double x) { return __builtin_sqrt(x); }

enum class Momentum { none, plain, nesterov };

template <class T, Momentum kMomentum, bool kDecay>
void sgd_loop(const SgdArgs& args, int64_t from, int64_t to) {
  using A = acc_t<T>;
  T* CT_RESTRICT param = static_cast<T*>(args.param);
  const T* CT_RESTRICT grad = static_cast<const T*>(args.grad);
  T* CT_RESTRICT buffer = static_cast<T*>(args.buffer);
  const A sign = args.maximize ? A(-1) : A(1);
  const A lr = static_cast<A>(args.lr), momentum = static_cast<A>(args.momentum);
  const A keep = static_cast<A>(args.keep), take = static_cast<A>(args.take);
  const A decay = static_cast<A>(args.weight_decay);
#pragma GCC ivdep
  for (int64_t i = from; i < to; ++i) {
    A p = static_cast<A>(param[i]);
    A d = sign * static_cast<A>(grad[i]);
    if constexpr (kDecay) d += decay * p;
    if constexpr (kMomentum != Momentum::none) {
      T b = T(keep * static_cast<A>(buffer[i]) + take * d);
      buffer[i] = b;
      d = kMomentum == Momentum::nesterov ? d + momentum * static_cast<A>(b) : static_cast<A>(b);
    }
    param[i] = T(p - lr * d);
  }
}

template <class T, Momentum kMomentum>
void sgd_decay(const SgdArgs& args, int64_t from, int64_t to) {
  // Without decay its term is left out: 0 * param would make a NaN of an infinite parameter.
  args.weight_decay != 0 ? sgd_loop<T, kMomentum, true>(args, from, to)
                         : sgd_loop<T, kMomentum, false>(args, from, to);
}

template <class T>
void sgd(const SgdArgs& args, int64_t from, int64_t to) {
  if (!args.buffer) {
    sgd_decay<T, Momentum::none>(args, from, to);
  } else if (args.nesterov) {
    sgd_decay<T, Momentum::nesterov>(args, from, to);
  } else {
    sgd_decay<T, Momentum::plain>(args, from, to);
  }
}

template <class T, bool kMax, bool kDecay>
void adam_loop(const AdamArgs& args, int64_t from, int64_t to) {
  using A = acc_t<T>;
  T* CT_RESTRICT param = static_cast<T*>(args.param);
  const T* CT_RESTRICT grad = static_cast<const T*>(args.grad);
  T* CT_RESTRICT exp_avg = static_cast<T*>(args.exp_avg);
  T* CT_RESTRICT exp_avg_sq = static_cast<T*>(args.exp_avg_sq);
  T* CT_RESTRICT largest = static_cast<T*>(args.max_exp_avg_sq);
  const A sign = args.maximize ? A(-1) : A(1);
  const A weight1 = static_cast<A>(1 - args.beta1);
  const A beta2 = static_cast<A>(args.beta2), weight2 = static_cast<A>(1 - args.beta2);
  const A eps = static_cast<A>(args.eps), decay = static_cast<A>(args.weight_decay);
  const A shrink = static_cast<A>(args.shrink), step_size = static_cast<A>(args.step_size);
  const A correction = static_cast<A>(args.correction);
#pragma GCC ivdep
  for (int64_t i = from; i < to; ++i) {
    A p = static_cast<A>(param[i]) * shrink;
    A d = sign * static_cast<A>(grad[i]);
    if constexpr (kDecay) d += decay * p;
    A old = static_cast<A>(exp_avg[i]);
    T m = T(old + weight1 * (d - old));
    T v = T(beta2 * static_cast<A>(exp_avg_sq[i]) + weight2 * d * d);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    A second = static_cast<A>(v);
    if constexpr (kMax) {
      A before = static_cast<A>(largest[i]);
      second = before > second ? before : second;
      largest[i] = T(second);
    }
    param[i] = T(p - step_size * static_cast<A>(m) / (square_root(second) / correction + eps));
  }
}

template <class T>
void adam(const AdamArgs& args, int64_t from, int64_t to) {
  bool decay = args.weight_decay != 0;
  if (args.max_exp_avg_sq) {
    decay ? adam_loop<T, true, true>(args, from, to) : adam_loop<T, true, false>(args, from, to);
  } else {
    decay ? adam_loop<T, false, true>(args, from, to) : adam_loop<T, false, false>(args, from, to);
  }
}

template <class T>
void fill(UpdateTable& table) {
  table.sgd[static_cast<int>(dtype_of<T>)] = sgd<T>;
  table.adam[static_cast<int>(dtype_of<T>)] = adam<T>;
}

}  // namespace

void fill_update(UpdateTable& table) {
  fill<float>(table);
  fill<double>(table);
  fill<Half>(table);
  fill<BFloat16>(table);
}

}  // namespace ctorch::CT_ISA
