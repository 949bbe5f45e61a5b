// Norms of groups of lines: group norm, and batch norm of a batch whose channels are lines. A group mostly
// lies in the L2: it is read from memory once, and all passes but the first find it there.
#include "kernels/cpu/norm_parts.h"
#include "kernels/norm.h"

namespace ctorch::CT_ISA {

void fill_norm_groups(NormTable& table);

namespace {

template <class T>
Pieces<T> elements(const GroupNormArgs& a, int64_t group) {
  const T* x = static_cast<const T*>(a.x) + group * a.group_stride;
  if (a.line_stride == a.inner) return {x, 1, a.lines * a.inner, 0};
  return {x, a.lines, a.inner, a.line_stride};
}

int64_t grain(const GroupNormArgs& a) { return most(1, kLeastWork / (a.lines * a.inner)); }

template <class T>
void groups(const GroupNormArgs& a) {
  using V = acc_t<T>;
  parallel_for(0, a.groups, grain(a), [&](int64_t from, int64_t to) {
    for (int64_t group = from; group < to; ++group) {
      const Statistics<T> s(elements<T>(a, group));
      a.mean[group] = s.mean;
      a.var[group] = s.var;
      const V mean = static_cast<V>(s.mean), rstd = s.rstd(a.eps);
      for (int64_t k = 0; k < a.lines; ++k) {
        const int64_t at = a.line(group, k), c = a.channel(group, k);
        const V scale = static_cast<V>(a.weight[c] * rstd), shift = static_cast<V>(a.bias[c]);
        const T* CT_RESTRICT x = static_cast<const T*>(a.x) + at;
        write_line(static_cast<T*>(a.y) + at, a.inner, a.stream,
                   [=](int64_t i) { return (widen(x[i]) - mean) * scale + shift; });
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
    for (int64_t group = from; group < to; ++group) {
      V mean, rstd;
      if (a.rstd) {
        mean = static_cast<V>(a.mean[group]);
        rstd = static_cast<V>(a.rstd[group]);
      } else {
        const Statistics<T> s(elements<T>(a, group));
        mean = static_cast<V>(s.mean);
        rstd = s.rstd(a.eps);
      }
      double weighted = 0, weighted_x = 0;
      for (int64_t k = 0; k < a.lines; ++k) {
        const int64_t at = a.line(group, k);
        const double w = a.weight[a.channel(group, k)];
        double sum = 0, sum_x = 0;
        line_sums(static_cast<const T*>(a.x) + at, static_cast<const T*>(a.grad) + at, a.inner, mean, sum,
                  sum_x);
        weighted += w * sum;
        weighted_x += w * sum_x;
        a.sum_grad[group * a.lines + k] = sum;
        a.sum_grad_h[group * a.lines + k] = sum_x * rstd;
      }
      const double r = rstd, count = static_cast<double>(a.lines * a.inner);
      const V slope = static_cast<V>(-weighted_x * r * r * r / count),
              shift = static_cast<V>(-weighted * r / count);
      for (int64_t k = 0; k < a.lines; ++k) {
        const int64_t at = a.line(group, k);
        const V scale = static_cast<V>(a.weight[a.channel(group, k)] * r);
        const T* CT_RESTRICT x = static_cast<const T*>(a.x) + at;
        const T* CT_RESTRICT g = static_cast<const T*>(a.grad) + at;
        write_line(static_cast<T*>(a.y) + at, a.inner, a.stream,
                   [=](int64_t i) { return widen(g[i]) * scale + (widen(x[i]) - mean) * slope + shift; });
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
