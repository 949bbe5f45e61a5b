// Cross entropy reads the scores of a sample twice (maximum, sum of exponentials) and stores nothing but the
// loss: the backward pass computes the softmax anew rather than keep it. All class numbers have been checked
// against the number of classes.
#include "kernels/loss.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/turn.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kLeastWork = 16384;  // elements that are worth handing to a thread
constexpr int64_t kPiece = 65536;      // elements of a sum that make a task
constexpr int64_t kRun = 4096;         // elements summed in the lanes' own precision
constexpr int64_t kBand = 256;         // columns of a band, where classes are an outer dim

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- pairs: value(x, t, p) and its derivative with respect to x
// ---------------------------------------------------------

struct Mse {
  template <class V>
  static CT_INLINE V value(V x, V t, V) {
    return (x - t) * (x - t);
  }
  template <class V>
  static CT_INLINE V slope(V x, V t, V) {
    return 2 * (x - t);
  }
};
struct L1 {
  template <class V>
  static CT_INLINE V value(V x, V t, V) {
    return math::abs(x - t);
  }
  template <class V>
  static CT_INLINE V slope(V x, V t, V) {
    return x > t ? V(1) : x < t ? V(-1) : V(0);
  }
};
struct SmoothL1 {
  template <class V>
  static CT_INLINE V value(V x, V t, V beta) {
    const V d = math::abs(x - t);
    return d < beta ? V(0.5) * d * d / beta : d - V(0.5) * beta;
  }
  template <class V>
  static CT_INLINE V slope(V x, V t, V beta) {
    const V d = x - t, a = math::abs(d);
    return a < beta ? d / beta : d > 0 ? V(1) : V(-1);
  }
};
struct Huber {
  template <class V>
  static CT_INLINE V value(V x, V t, V delta) {
    const V d = math::abs(x - t);
    return d < delta ? V(0.5) * d * d : delta * (d - V(0.5) * delta);
  }
  template <class V>
  static CT_INLINE V slope(V x, V t, V delta) {
    const V d = x - t;
    return d <= -delta ? -delta : d >= delta ? delta : d;
  }
};
// PyTorch's bounds: logarithms are at least -100, x (1 - x) at least 1e-12.
struct Bce {
  template <class V>
  static CT_INLINE V bounded(V x) {
    return x < V(-100) ? V(-100) : x;
  }
  template <class V>
  static CT_INLINE V value(V x, V t, V) {
    return (t - 1) * bounded(math::log1p(-x)) - t * bounded(math::log(x));
  }
  template <class V>
  static CT_INLINE V slope(V x, V t, V) {
    const V d = (1 - x) * x;
    return (x - t) / (d < V(1e-12) ? V(1e-12) : d);
  }
};
// Here p is the weight of the positive part.
struct BceLogits {
  template <class V>
  static CT_INLINE V value(V x, V t, V p) {
    const V factor = (p - 1) * t + 1;  // of the softplus of -x
    const V softplus = math::log1p(math::exp(-math::abs(x))) + (x < 0 ? -x : V(0));
    return (1 - t) * x + factor * softplus;
  }
  template <class V>
  static CT_INLINE V slope(V x, V t, V p) {
    return (1 - t) - ((p - 1) * t + 1) * math::sigmoid(-x);
  }
};

template <class Loss, class T>
struct Pair {
  static constexpr bool kWeighted = std::is_same_v<Loss, Bce> || std::is_same_v<Loss, BceLogits>;

  static CT_INLINE T value(const PairLossArgs& a, int64_t i, T param) {
    return Loss::value(static_cast<const T*>(a.x)[i], static_cast<const T*>(a.target)[i], param);
  }
  // The factors of element i, where a loss has them.
  static CT_INLINE T weight(const PairLossArgs& a, int64_t i) { return static_cast<const T*>(a.weight)[i]; }
  static CT_INLINE T positive(const PairLossArgs& a, int64_t i) {
    return static_cast<const T*>(a.pos_weight)[i];
  }

  // body(value of element i) with as few choices inside the loop as possible.
  template <class Body>
  static CT_INLINE void for_values(const PairLossArgs& a, int64_t from, int64_t to, Body body) {
    const T param = static_cast<T>(std::is_same_v<Loss, BceLogits> ? 1.0 : a.param);
    if constexpr (kWeighted) {
      if (a.pos_weight) {
        for (int64_t i = from; i < to; ++i)
          body(i, value(a, i, positive(a, i)) * (a.weight ? weight(a, i) : T(1)));
        return;
      }
      if (a.weight) {
        for (int64_t i = from; i < to; ++i) body(i, value(a, i, param) * weight(a, i));
        return;
      }
    }
    for (int64_t i = from; i < to; ++i) body(i, value(a, i, param));
  }

  static void forward(const PairLossArgs& a) {
    if (a.out) {
      return parallel_for(0, a.n, kLeastWork, [&](int64_t from, int64_t to) {
        T* CT_RESTRICT out = static_cast<T*>(a.out);
        for_values(a, from, to, [&](int64_t i, T v) __attribute__((always_inline)) { out[i] = v; });
      });
    }
    const int64_t pieces = (a.n + kPiece - 1) / kPiece;
    Scratch scratch(static_cast<size_t>(pieces) * sizeof(double));
    double* sums = scratch.as<double>();
    parallel_for(0, pieces, 1, [&](int64_t first, int64_t last) {
      for (int64_t piece = first; piece < last; ++piece) {
        double total = 0;
        for (int64_t from = piece * kPiece; from < least(a.n, (piece + 1) * kPiece); from += kRun) {
          const int64_t to = least(least(a.n, (piece + 1) * kPiece), from + kRun);
          // The values first, then their sum in lanes: the sum alone would keep the formula from being
          // vectorised.
          T values[kRun];
          for_values(a, from, to,
                     [&](int64_t i, T v) __attribute__((always_inline)) { values[i - from] = v; });
          Lanes<T> s(0);
          read_lanes(values, to - from, T(0), [&](const T* p) __attribute__((always_inline)) {
            for (int j = 0; j < kRowLanes; ++j) s[j] += p[j];
          });
          total += s.sum();
        }
        sums[piece] = total;
      }
    });
    double total = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) total += sums[piece];
    *a.sum = total;
  }

  static CT_INLINE T slope(const PairLossArgs& a, int64_t i, T param) {
    T s = Loss::slope(static_cast<const T*>(a.x)[i], static_cast<const T*>(a.target)[i], param);
    if constexpr (kWeighted) s *= a.weight ? weight(a, i) : T(1);
    return s;
  }
  static void backward(const PairLossArgs& a) {
    const T param = static_cast<T>(std::is_same_v<Loss, BceLogits> ? 1.0 : a.param),
            scale = static_cast<T>(a.scale);
    parallel_for(0, a.n, kLeastWork, [&](int64_t from, int64_t to) {
      const T* g = static_cast<const T*>(a.grad);
      T* CT_RESTRICT out = static_cast<T*>(a.out);
      auto run = [&](auto grad) __attribute__((always_inline)) {
        if constexpr (kWeighted) {
          if (a.pos_weight) {
            for (int64_t i = from; i < to; ++i) out[i] = slope(a, i, positive(a, i)) * grad(i);
            return;
          }
        }
        for (int64_t i = from; i < to; ++i) out[i] = slope(a, i, param) * grad(i);
      };
      if (a.grad_is_scalar) {
        const T factor = *g * scale;
        run([=](int64_t) __attribute__((always_inline)) { return factor; });
      } else {
        run([=](int64_t i) __attribute__((always_inline)) { return g[i] * scale; });
      }
    });
  }
};

// ---- class numbers
// -----------------------------------------------------------------------------------------------------

template <class T>
struct Classes {
  static CT_INLINE T weight(const ClassLossArgs& a, int64_t c) {
    return a.weight ? static_cast<const T*>(a.weight)[c] : T(1);
  }
  static T weight_sum(const ClassLossArgs& a) {
    if (!a.weight) return static_cast<T>(a.classes);
    double sum = 0;
    for (int64_t c = 0; c < a.classes; ++c) sum += weight(a, c);
    return static_cast<T>(sum);
  }

  static void nll(const ClassLossArgs& a) {
    parallel_for(0, a.samples * a.inner, kLeastWork, [&](int64_t from, int64_t to) {
      for (int64_t l = from; l < to; ++l) {
        const int64_t t = a.target[l];
        const bool counts = t != a.ignore_index;
        const T w = counts ? weight(a, t) : T(0);
        const int64_t at = (l / a.inner * a.classes + t) * a.inner + l % a.inner;
        static_cast<T*>(a.losses)[l] = counts ? -w * static_cast<const T*>(a.x)[at] : T(0);
        static_cast<T*>(a.weights)[l] = w;
      }
    });
  }
  static void nll_backward(const ClassLossArgs& a) {
    parallel_for(0, a.samples * a.inner, kLeastWork, [&](int64_t from, int64_t to) {
      for (int64_t l = from; l < to; ++l) {
        const int64_t t = a.target[l];
        if (t == a.ignore_index) continue;
        const int64_t at = (l / a.inner * a.classes + t) * a.inner + l % a.inner;
        static_cast<T*>(a.dx)[at] = -weight(a, t) * static_cast<const T*>(a.grad)[l];
      }
    });
  }

  // Over a row of scores: log sum e^x, in double as two numbers of which the second is small.
  static CT_INLINE void log_sum(const T* x, int64_t n, T& max, T& log_of_sum) {
    Lanes<T> best(-__builtin_inf());
    read_lanes(x, n, -__builtin_inf(), [&](const T* p) __attribute__((always_inline)) {
      for (int j = 0; j < kRowLanes; ++j) best[j] = Lanes<T>::greater(best[j], p[j]);
    });
    max = best.max();
    double total = 0;
    for (int64_t i = 0; i < n; i += kRun) {
      Lanes<T> sum(0);
      read_lanes(x + i, least(kRun, n - i), -__builtin_inf(), [&](const T* p) __attribute__((always_inline)) {
        for (int j = 0; j < kRowLanes; ++j) sum[j] += exp_below_zero(p[j] - max);
      });
      total += sum.sum();
    }
    log_of_sum = static_cast<T>(__builtin_log(total));
  }
  // With s = smoothing and K classes, the loss of a target t is
  //   (1 - s) w_t (lse - x_t) + s / K sum_c w_c (lse - x_c).
  struct Shares {
    T target, other, sum;  // (1 - s), s / K, sum of the weights
    CT_INLINE explicit Shares(const ClassLossArgs& a)
        : target(static_cast<T>(1 - a.smoothing)),
          other(static_cast<T>(a.smoothing / static_cast<double>(a.classes))),
          sum(a.smoothing > 0 ? weight_sum(a) : T(0)) {}
  };
  static CT_INLINE T weighted_sum(const ClassLossArgs& a, const T* x, int64_t stride) {
    double sum = 0;
    for (int64_t c = 0; c < a.classes; ++c) sum += weight(a, c) * x[c * stride];
    return static_cast<T>(sum);
  }
  static CT_INLINE void put_loss(const ClassLossArgs& a, const Shares& s, int64_t l, const T* x,
                                 int64_t stride, T max, T log_of_sum) {
    const int64_t t = a.target[l];
    const bool counts = t != a.ignore_index;
    const T w = counts ? weight(a, t) : T(0);
    T loss = 0;
    if (counts) {
      loss = s.target * w * (log_of_sum - (x[t * stride] - max));
      if (a.smoothing > 0) loss += s.other * ((log_of_sum + max) * s.sum - weighted_sum(a, x, stride));
    }
    static_cast<T*>(a.losses)[l] = loss;
    static_cast<T*>(a.weights)[l] = w;
  }

  // The scores of samples [first, first + cols), or places of one: class c of number j at x[c * pitch + j],
  // and the gradient there in `out`, which may be x.
  struct Band {
    const T* x;
    T* out;
    int64_t pitch, first, cols;
  };
  static CT_INLINE void band_log_sum(const ClassLossArgs& a, const Band& band, T* CT_RESTRICT max,
                                     T* CT_RESTRICT log_of_sum) {
    const T* CT_RESTRICT x = band.x;
    const int64_t cols = band.cols, pitch = band.pitch;
    for (int64_t j = 0; j < cols; ++j) max[j] = x[j];
    for (int64_t c = 1; c < a.classes; ++c) {
      for (int64_t j = 0; j < cols; ++j) max[j] = Lanes<T>::greater(max[j], x[c * pitch + j]);
    }
    for (int64_t j = 0; j < cols; ++j) log_of_sum[j] = 0;
    for (int64_t c = 0; c < a.classes; ++c) {
      for (int64_t j = 0; j < cols; ++j) log_of_sum[j] += exp_below_zero(x[c * pitch + j] - max[j]);
    }
    for (int64_t j = 0; j < cols; ++j) log_of_sum[j] = math::log(log_of_sum[j]);
  }

  // Rows of few classes are turned to bands.
  static CT_INLINE bool in_bands(const ClassLossArgs& a) {
    return a.inner > 1 || a.classes <= kLongestTurned;
  }
  template <bool kBackward, class Use>
  static CT_INLINE void for_bands(const ClassLossArgs& a, Use use) {
    const T* x = static_cast<const T*>(a.x);
    T* dx = kBackward ? static_cast<T*>(a.dx) : nullptr;
    const int64_t widest = a.inner > 1 ? kBand : rows_to_turn(a.classes),
                  columns = a.inner > 1 ? a.inner : a.samples;
    const int64_t bands = (columns + widest - 1) / widest, images = a.inner > 1 ? a.samples : 1;
    const int64_t work = a.classes * least(columns, widest);
    parallel_for(0, images * bands, most(1, kLeastWork / work), [&](int64_t from, int64_t to) {
      alignas(64) T turned[kTurnedElements];
      for (int64_t b = from; b < to; ++b) {
        const int64_t image = b / bands, first = b % bands * widest, cols = least(widest, columns - first);
        if (a.inner > 1) {
          const int64_t at = image * a.classes * a.inner + first;
          use(Band{x + at, dx + at, a.inner, image * a.inner + first, cols});
        } else {
          const int64_t at = first * a.classes;
          turn_rows(x + at, a.classes, cols, a.classes, turned);
          use(Band{turned, turned, turned_width<T>(cols), first, cols});
          if (kBackward) turn_columns(turned, cols, a.classes, dx + at);
        }
      }
    });
  }

  static void cross_entropy(const ClassLossArgs& a) {
    const Shares shares(a);
    const T* x = static_cast<const T*>(a.x);
    if (!in_bands(a)) {
      return parallel_for(0, a.samples, most(1, kLeastWork / a.classes), [&](int64_t from, int64_t to) {
        for (int64_t r = from; r < to; ++r) {
          T max, log_of_sum;
          log_sum(x + r * a.classes, a.classes, max, log_of_sum);
          put_loss(a, shares, r, x + r * a.classes, 1, max, log_of_sum);
        }
      });
    }
    for_bands<false>(a, [&](const Band& band) {
      T max[kBand], log_of_sum[kBand];
      band_log_sum(a, band, max, log_of_sum);
      for (int64_t j = 0; j < band.cols; ++j)
        put_loss(a, shares, band.first + j, band.x + j, band.pitch, max[j], log_of_sum[j]);
    });
  }

  // d loss / d x_c = softmax_c Q - q_c, with q_c = (1 - s) w_t [c == t] + s / K w_c and Q their sum.
  static void cross_entropy_backward(const ClassLossArgs& a) {
    const Shares shares(a);
    const T* x = static_cast<const T*>(a.x);
    T* dx = static_cast<T*>(a.dx);
    auto factor = [&](int64_t l) {
      const int64_t t = a.target[l];
      return t == a.ignore_index ? T(0) : static_cast<const T*>(a.grad)[l];
    };
    auto total_share = [&](int64_t t) { return shares.target * weight(a, t) + shares.other * shares.sum; };
    if (!in_bands(a)) {
      return parallel_for(0, a.samples, most(1, kLeastWork / a.classes), [&](int64_t from, int64_t to) {
        for (int64_t r = from; r < to; ++r) {
          const T* p = x + r * a.classes;
          T* CT_RESTRICT q = dx + r * a.classes;
          const int64_t t = a.target[r];
          if (t == a.ignore_index) {
            std::memset(q, 0, static_cast<size_t>(a.classes) * sizeof(T));
            continue;
          }
          const T g = factor(r), scale = g * total_share(t);
          T max, log_of_sum;
          log_sum(p, a.classes, max, log_of_sum);
          // The target's class apart: half types would round its gradient twice.
          const T own = scale * exp_below_zero(p[t] - max - log_of_sum) -
                        g * weight(a, t) * (shares.target + shares.other);
          map_lanes(p, q, a.classes, -__builtin_inf(),
                    [&](const T* in, T* out) __attribute__((always_inline)) {
                      for (int j = 0; j < kRowLanes; ++j)
                        out[j] = scale * exp_below_zero(in[j] - max - log_of_sum);
                    });
          if (a.smoothing > 0) {
            for (int64_t c = 0; c < a.classes; ++c) q[c] = q[c] - g * shares.other * weight(a, c);
          }
          q[t] = own;
        }
      });
    }
    for_bands<true>(a, [&](const Band& band) {
      T max[kBand], log_of_sum[kBand], g[kBand], scale[kBand];
      const int64_t* target = a.target + band.first;
      const int64_t cols = band.cols;
      band_log_sum(a, band, max, log_of_sum);
      for (int64_t j = 0; j < cols; ++j) {
        g[j] = factor(band.first + j);
        scale[j] = target[j] == a.ignore_index ? T(0) : g[j] * total_share(target[j]);
      }
      for (int64_t c = 0; c < a.classes; ++c) {
        const T other = shares.other * weight(a, c), own = shares.target * weight(a, c);
        const T* p = band.x + c * band.pitch;
        T* q = band.out + c * band.pitch;
#pragma GCC ivdep
        for (int64_t j = 0; j < cols; ++j) {
          const T share = other + (target[j] == c ? own : T(0));
          q[j] = scale[j] * exp_below_zero(p[j] - max[j] - log_of_sum[j]) - g[j] * share;
        }
      }
    });
  }
};

template <class Loss, class... Ts>
void fill_pair(LossTable& table, PairLoss kind, TypeList<Ts...>) {
  ((table.pair[static_cast<int>(kind)][static_cast<int>(dtype_of<Ts>)] = &Pair<Loss, Ts>::forward,
    table.pair_backward[static_cast<int>(kind)][static_cast<int>(dtype_of<Ts>)] = &Pair<Loss, Ts>::backward),
   ...);
}
template <class... Ts>
void fill_classes(LossTable& table, TypeList<Ts...>) {
  ((table.nll[static_cast<int>(dtype_of<Ts>)] = &Classes<Ts>::nll,
    table.nll_backward[static_cast<int>(dtype_of<Ts>)] = &Classes<Ts>::nll_backward,
    table.cross_entropy[static_cast<int>(dtype_of<Ts>)] = &Classes<Ts>::cross_entropy,
    table.cross_entropy_backward[static_cast<int>(dtype_of<Ts>)] = &Classes<Ts>::cross_entropy_backward),
   ...);
}

}  // namespace

void fill_loss(LossTable& table) {
  fill_pair<Mse>(table, PairLoss::mse, FullFloats{});
  fill_pair<L1>(table, PairLoss::l1, FullFloats{});
  fill_pair<SmoothL1>(table, PairLoss::smooth_l1, FullFloats{});
  fill_pair<Huber>(table, PairLoss::huber, FullFloats{});
  fill_pair<Bce>(table, PairLoss::bce, FullFloats{});
  fill_pair<BceLogits>(table, PairLoss::bce_logits, FullFloats{});
  fill_classes(table, FullFloats{});
}

}  // namespace ctorch::CT_ISA
