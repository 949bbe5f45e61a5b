// Norms of groups of lines: group norm, and batch norm of a batch whose channels are long lines. A group
// mostly lies in the L2: it is read from memory once, and all passes but the first find it there.
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/norm_lines.h"

namespace ctorch::CT_ISA {
namespace {

// The lines of a group of x or grad as numbers; of half types a copy.
template <class T>
struct GroupLines {
  using V = acc_t<T>;
  const V* data;
  int64_t pitch;

  CT_INLINE GroupLines(const GroupNormArgs& a, const void* all, int64_t group, [[maybe_unused]] V* copy) {
    const T* first = static_cast<const T*>(all) + a.line(group, 0);
    if constexpr (is_half_v<T>) {
      for (int64_t k = 0; k < a.lines; ++k) widen_row(first + k * a.line_stride, copy + k * a.inner, a.inner);
      data = copy;
      pitch = a.inner;
    } else {
      data = first;
      pitch = a.line_stride;
    }
  }
  CT_INLINE const V* line(int64_t k) const { return data + k * pitch; }
  CT_INLINE Statistics<V> statistics(const GroupNormArgs& a) const {
    if (pitch == a.inner) return Statistics<V>(Pieces<V>{data, 1, a.lines * a.inner, 0});
    return Statistics<V>(Pieces<V>{data, a.lines, a.inner, pitch});
  }
};

int64_t grain(const GroupNormArgs& a) { return most(1, kLeastWork / (a.lines * a.inner)); }

template <class T>
void groups(const GroupNormArgs& a) {
  using V = acc_t<T>;
  parallel_for(0, a.groups, grain(a), [&](int64_t from, int64_t to) {
    const Scratch scratch(copy_bytes<T>(a.lines * a.inner));
    for (int64_t group = from; group < to; ++group) {
      const GroupLines<T> x(a, a.x, group, scratch.as<V>());
      const Statistics<V> s = x.statistics(a);
      a.mean[group] = s.mean;
      a.var[group] = s.var;
      const V mean = static_cast<V>(s.mean), rstd = s.rstd(a.eps);
      for (int64_t k = 0; k < a.lines; ++k) {
        const int64_t c = a.channel(group, k);
        normalize_line(x.line(k), a.inner, mean, static_cast<V>(a.weight[c] * rstd),
                       static_cast<V>(a.bias[c]), static_cast<T*>(a.y) + a.line(group, k), a.stream);
      }
    }
    if (a.stream) stream_end();
  });
}

// With h = (x - mean) rstd: dx = rstd (grad w - mean(grad w) - h mean(grad w h)), means over the group.
template <class T>
void groups_backward(const GroupNormArgs& a) {
  using V = acc_t<T>;
  parallel_for(0, a.groups, grain(a), [&](int64_t from, int64_t to) {
    const int64_t n = a.lines * a.inner;
    const Scratch scratch(copy_bytes<T>(2 * n));
    for (int64_t group = from; group < to; ++group) {
      const GroupLines<T> x(a, a.x, group, scratch.as<V>()), g(a, a.grad, group, scratch.as<V>() + n);
      V mean, rstd;
      if (a.rstd) {
        mean = static_cast<V>(a.mean[group]);
        rstd = static_cast<V>(a.rstd[group]);
      } else {
        const Statistics<V> s = x.statistics(a);
        mean = static_cast<V>(s.mean);
        rstd = s.rstd(a.eps);
      }
      double weighted = 0, weighted_x = 0;
      for (int64_t k = 0; k < a.lines; ++k) {
        double sum = 0, sum_x = 0;
        add_sums(x.line(k), g.line(k), a.inner, mean, sum, sum_x);
        const double w = a.weight[a.channel(group, k)];
        weighted += w * sum;
        weighted_x += w * sum_x;
        a.sum_grad[group * a.lines + k] = sum;
        a.sum_grad_h[group * a.lines + k] = sum_x * rstd;
      }
      const double r = rstd, count = static_cast<double>(n);
      const V slope = static_cast<V>(-weighted_x * r * r * r / count),
              shift = static_cast<V>(-weighted * r / count);
      for (int64_t k = 0; k < a.lines; ++k) {
        gradient_line(x.line(k), g.line(k), a.inner, mean, static_cast<V>(a.weight[a.channel(group, k)] * r),
                      slope, shift, static_cast<T*>(a.y) + a.line(group, k), a.stream);
      }
    }
    if (a.stream) stream_end();
  });
}

template <class... Ts>
void fill_types(NormTable& table, TypeList<Ts...>) {
  ((table.groups[static_cast<int>(dtype_of<Ts>)] = &groups<Ts>,
    table.groups_backward[static_cast<int>(dtype_of<Ts>)] = &groups_backward<Ts>),
   ...);
}

}  // namespace

void fill_norm_groups(NormTable& table) { fill_types(table, Floats{}); }

}  // namespace ctorch::CT_ISA
