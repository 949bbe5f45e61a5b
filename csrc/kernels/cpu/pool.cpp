// Pooling, 16 planes at a time: element (d, h, w) of all of them is one row of lanes, so that windows of any
// size, stride and dilation are loops over whole vectors.
//
// Where the channels are innermost in memory, elements lie like that already. Other operands are transposed
// on the way in and out, in tiles that stay in the L2, which costs less than a strided load per element of a
// window. A tile is a range of one axis: the outermost one that has more than one result.
#include "kernels/pool.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/lane_row.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kPlanes = kRowOfLanes;
constexpr int64_t kTile = 4096;      // elements of a plane of x in a tile: 256 KB for 16 planes of floats
constexpr int64_t kGrain = 1 << 15;  // elements that are worth a thread
constexpr int kDims = kPoolDims;

CT_INLINE int64_t ceil_div_up(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

template <class T>
CT_INLINE T lowest() {
  if constexpr (std::numeric_limits<T>::has_infinity) {
    return -std::numeric_limits<T>::infinity();
  } else {
    return std::numeric_limits<T>::lowest();
  }
}

// ---- rows of lanes
// -----------------------------------------------------------------------------------------

// Integers as wide as S: places of elements in their plane.
template <class S>
using place_t = std::conditional_t<sizeof(S) == 4, int32_t, int64_t>;

// The greatest elements so far: a NaN counts as one, and so does a later one, as in PyTorch.
template <bool kWhere, class S>
struct Best {
  LaneRow<S> value = LaneRow<S>::all(lowest<S>());
  LaneRow<place_t<S>> where;

  CT_INLINE explicit Best(int64_t first) : where(LaneRow<place_t<S>>::all(static_cast<place_t<S>>(first))) {}
  CT_INLINE void take(const S* p, int64_t place) {
    const LaneRow<S> x = LaneRow<S>::load(p);
    const auto at = LaneRow<place_t<S>>::all(static_cast<place_t<S>>(place));
    for (int i = 0; i < LaneRow<S>::kVectors; ++i) {
      const auto better = (x.v[i] > value.v[i]) | (x.v[i] != x.v[i]);
      value.v[i] = better ? x.v[i] : value.v[i];
      if constexpr (kWhere) where.v[i] = better ? at.v[i] : where.v[i];
    }
  }
};

// n elements, `step` apart, of each of `lanes` planes, `plane` apart, to rows of `width` lanes, the planes
// rounded up to a multiple of 16; planes that are missing become zeros.
template <class S, class T>
void load_rows(S* to, const T* p, int64_t n, int64_t step, int64_t plane, int64_t lanes, int64_t width) {
  if constexpr (std::is_floating_point_v<S> || std::is_same_v<S, T>) {
    if (step == 1 && plane != 1 && width == kPlanes) return pack_panel(to, kPlanes, lanes, n, p, plane, 1);
  }
  for (int64_t i = 0; i < n; ++i, p += step, to += width) {
    if (plane == 1 && lanes == width) {
      for (int64_t v = 0; v < width; v += kPlanes)
        for (int64_t l = v; l < v + kPlanes; ++l) to[l] = static_cast<S>(p[l]);
      continue;
    }
    for (int64_t l = 0; l < lanes; ++l) to[l] = static_cast<S>(p[l * plane]);
    for (int64_t l = lanes; l < width; ++l) to[l] = S(0);
  }
}
template <class T, class S>
void store_rows(T* p, const S* from, int64_t n, int64_t step, int64_t plane, int64_t lanes, int64_t width) {
  if constexpr (std::is_same_v<S, T>) {
    if (step == 1 && plane != 1) {  // packing transposes squares, in either direction
      for (int64_t i = 0; i < n; i += kLanes<S>)
        pack_rows_along_k<S>(p + i, plane, std::min(kLanes<S>, n - i), lanes, from + i * width, width);
      return;
    }
  }
  if (plane == 1 && lanes == width) {
    for (int64_t i = 0; i < n; ++i, p += step, from += width) {
      for (int64_t v = 0; v < width; v += kPlanes)
        for (int64_t l = v; l < v + kPlanes; ++l) p[l] = static_cast<T>(from[l]);
    }
    return;
  }
  for (int64_t l = 0; l < lanes; ++l)
    for (int64_t i = 0; i < n; ++i) p[l * plane + i * step] = static_cast<T>(from[i * width + l]);
}

// ---- windows
// -----------------------------------------------------------------------------------------------

// The elements of an axis under a window, and how many there would be with padding. `low` is at most `begin`,
// and grows from window to window, as `end` does; with padding and dilation `begin` need not.
struct Window {
  int64_t begin, end, extent, low;
};
// The windows that an element of an axis may lie in: begin and end grow along the axis.
struct Cover {
  int64_t begin, end;
};

CT_INLINE Window window_of(const PoolAxis& a, bool adaptive, bool mean, int64_t i) {
  if (adaptive) {
    const int64_t begin = i * a.x_size / a.y_size, end = ceil_div_up((i + 1) * a.x_size, a.y_size);
    return {begin, end, end - begin, begin};
  }
  const int64_t start = i * a.stride - a.padding, low = std::max<int64_t>(start, 0);
  if (mean) {
    const int64_t end = std::min(start + a.kernel, a.x_size + a.padding);
    return {low, std::min(end, a.x_size), end - start, low};
  }
  // The first element that exists is a whole number of dilations from the start.
  const int64_t begin = start < 0 ? start + ceil_div_up(-start, a.dilation) * a.dilation : start;
  return {begin, std::min(start + (a.kernel - 1) * a.dilation + 1, a.x_size), a.kernel, low};
}

struct Range {
  int64_t from, to;
};
struct Ranges {
  Range axis[kDims];
};

// All windows and covers of a pool, and how it is cut into tiles.
class Plan {
 public:
  Plan(const PoolArgs& g, bool mean)
      : memory_(static_cast<size_t>(total(g)) * (sizeof(Window) + sizeof(Cover))), g_(g) {
    Window* w = memory_.as<Window>();
    Cover* c = reinterpret_cast<Cover*>(w + total(g));
    for (int k = 0; k < kDims; ++k) {
      const PoolAxis& a = g.axis[k];
      window[k] = w;
      cover[k] = c;
      step[k] = g.adaptive || mean ? 1 : a.dilation;
      for (int64_t i = 0; i < a.y_size; ++i) w[i] = window_of(a, g.adaptive, mean, i);
      int64_t first = 0, last = 0;
      for (int64_t i = 0; i < a.x_size; ++i) {
        while (first < a.y_size && w[first].end <= i) ++first;
        while (last < a.y_size && w[last].low <= i) ++last;
        c[i] = {first, std::max(first, last)};
      }
      w += a.y_size;
      c += a.x_size;
    }
    while (split < kDims - 1 && g.axis[split].y_size == 1) ++split;
  }

  // Elements of x under the windows of a range of the split axis, and the windows over some elements.
  Range elements(Range y) const {
    const int64_t end = std::max<int64_t>(0, window[split][y.to - 1].end);
    return {std::min(window[split][y.from].low, end), end};
  }
  Range windows(Range x) const {
    const int64_t end = cover[split][x.to - 1].end;
    return {std::min(cover[split][x.from].begin, end), end};
  }
  Ranges whole_x(Range r) const {
    return whole([&](int k) { return g_.axis[k].x_size; }, r);
  }
  Ranges whole_y(Range r) const {
    return whole([&](int k) { return g_.axis[k].y_size; }, r);
  }

  const Window* window[kDims];
  const Cover* cover[kDims];
  int64_t step[kDims];  // between the elements of a window
  int split = 0;

 private:
  static int64_t total(const PoolArgs& g) {
    int64_t n = 0;
    for (const PoolAxis& a : g.axis) n += a.x_size + a.y_size;
    return n;
  }
  template <class Size>
  Ranges whole(Size size, Range r) const {
    Ranges all;
    for (int k = 0; k < kDims; ++k) all.axis[k] = {0, size(k)};
    all.axis[split] = r;
    return all;
  }

  Scratch memory_;
  const PoolArgs& g_;
};

CT_INLINE int64_t count_of(const Ranges& r) {
  int64_t n = 1;
  for (const Range& a : r.axis) n *= a.to - a.from;
  return n;
}

// A tile as rows of lanes: where its elements stand, counted from the beginning of the plane.
template <class S>
struct Tile {
  S* data;
  int64_t step[kDims], origin;

  CT_INLINE S* at(int64_t d, int64_t h, int64_t w) const {
    return data + (d * step[0] + h * step[1] + w * step[2] - origin);
  }
  static Tile dense(S* data, const Ranges& r, int64_t width) {
    Tile t{data, {}, 0};
    int64_t step = width;
    for (int k = kDims - 1; k >= 0; --k) {
      t.step[k] = step;
      t.origin += r.axis[k].from * step;
      step *= r.axis[k].to - r.axis[k].from;
    }
    return t;
  }
};

// Some planes of the operands: `lanes` from `lane` on, of one sample or, where all operands allow it, of a
// batch seen as one sample. Tiles have room for `width` of them, a multiple of 16.
struct Group {
  int64_t sample, lane, lanes, width;

  template <class T, class Pointer>
  CT_INLINE T* of(const PoolOperand<Pointer>& p) const {
    return static_cast<T*>(p.data) + sample * p.batch + lane * p.plane;
  }
  template <class Pointer>
  CT_INLINE bool in_place(const PoolOperand<Pointer>& p) const {
    return p.plane == 1 && lanes == width;
  }
};
// body(p, count, step): for the runs of a tile's elements that lie one step apart.
template <class T, class Pointer, class Body>
CT_INLINE void for_each_run(const PoolOperand<Pointer>& o, T* p, const Ranges& r, Body&& body) {
  int64_t n[kDims];
  for (int k = 0; k < kDims; ++k) {
    n[k] = r.axis[k].to - r.axis[k].from;
    p += r.axis[k].from * o.axis[k];
  }
  const bool flat =
      (n[1] == 1 || o.axis[1] == n[2] * o.axis[2]) && (n[0] == 1 || o.axis[0] == n[1] * n[2] * o.axis[2]);
  if (flat) return body(p, n[0] * n[1] * n[2], o.axis[2]);
  for (int64_t d = 0; d < n[0]; ++d)
    for (int64_t h = 0; h < n[1]; ++h) body(p + d * o.axis[0] + h * o.axis[1], n[2], o.axis[2]);
}

template <class S, class T>
Tile<const S> load_tile(const PoolOperand<const void*>& o, const Group& group, const Ranges& r, S* buffer,
                        bool copy = false) {
  const T* p = group.of<const T>(o);
  if constexpr (std::is_same_v<S, T>) {
    if (!copy && group.in_place(o)) return {p, {o.axis[0], o.axis[1], o.axis[2]}, 0};
  }
  const Tile<S> t = Tile<S>::dense(buffer, r, group.width);
  for_each_run(o, p, r, [&](const T* from, int64_t n, int64_t step) {
    load_rows(buffer, from, n, step, o.plane, group.lanes, group.width);
    buffer += n * group.width;
  });
  return {t.data, {t.step[0], t.step[1], t.step[2]}, t.origin};
}
// Where to put the results of a tile: in place, or in a buffer that finish_tile() copies.
template <class S, class T>
Tile<S> begin_tile(const PoolOperand<void*>& o, const Group& group, const Ranges& r, S* buffer) {
  if constexpr (std::is_same_v<S, T>) {
    if (group.in_place(o)) return {group.of<T>(o), {o.axis[0], o.axis[1], o.axis[2]}, 0};
  }
  return Tile<S>::dense(buffer, r, group.width);
}
template <class T, class S>
void finish_tile(const PoolOperand<void*>& o, const Group& group, const Ranges& r, const S* buffer) {
  if (std::is_same_v<S, T> && group.in_place(o)) return;
  for_each_run(o, group.of<T>(o), r, [&](T* to, int64_t n, int64_t step) {
    store_rows(to, buffer, n, step, o.plane, group.lanes, group.width);
    buffer += n * group.width;
  });
}

// ---- the loops
// ---------------------------------------------------------------------------------------------

template <class Pointer>
CT_INLINE bool is_one_batch(const PoolArgs& g, const PoolOperand<Pointer>& o) {
  return g.batch == 1 || !o.data || o.batch == g.channels * o.plane;
}
template <class Pointer>
CT_INLINE bool is_innermost(const PoolOperand<Pointer>& o) {
  return !o.data || o.plane == 1;
}

// body(group, range) for all planes in groups, and for all ranges of the split axis, of `size` elements, in
// parallel. `work` is that of one plane.
template <class Body>
CT_INLINE void for_each_tile(const PoolArgs& g, int64_t size, int64_t work, Body&& body) {
  const bool one =
      is_one_batch(g, g.x) && is_one_batch(g, g.y) && is_one_batch(g, g.x_grad) && is_one_batch(g, g.y_grad);
  const int64_t samples = one ? 1 : g.batch, planes = one ? g.batch * g.channels : g.channels;
  // Innermost planes are taken four cache lines at a time: memory likes longer runs.
  const bool innermost =
      is_innermost(g.x) && is_innermost(g.y) && is_innermost(g.x_grad) && is_innermost(g.y_grad);
  const int64_t wide = innermost ? 4 * kPlanes : kPlanes, wide_groups = planes / wide;
  const int64_t groups = wide_groups + ceil_div(planes % wide, kPlanes);
  int64_t elements = 1;
  for (const PoolAxis& a : g.axis) elements *= a.x_size;
  const int64_t cuts = std::min(size, ceil_div(elements * wide, kTile * kPlanes)),
                length = ceil_div(size, cuts), tiles = ceil_div(size, length);
  parallel_for(0, samples * tiles * groups, std::max<int64_t>(1, kGrain * tiles / (work * wide + 1)),
               [&](int64_t from, int64_t to) {
                 for (int64_t i = from; i < to; ++i) {
                   const int64_t k = i % groups, tile = i / groups % tiles;
                   const int64_t width = k < wide_groups ? wide : kPlanes,
                                 lane = std::min(k, wide_groups) * wide +
                                        std::max<int64_t>(0, k - wide_groups) * kPlanes;
                   body(Group{i / groups / tiles, lane, std::min(width, planes - lane), width},
                        Range{tile * length, std::min(size, (tile + 1) * length)});
                 }
               });
}
CT_INLINE int64_t plane_work(const PoolArgs& g) {
  int64_t x = 1, y = 1;
  for (const PoolAxis& a : g.axis) {
    x *= a.x_size;
    y *= a.y_size * (g.adaptive ? a.x_size / a.y_size + 1 : a.kernel);
  }
  return x + y;
}
// body(d, h, w, lane) for every row of 16 lanes.
template <class Body>
CT_INLINE void for_each_row(const Ranges& r, int64_t width, Body&& body) {
  for (int64_t d = r.axis[0].from; d < r.axis[0].to; ++d)
    for (int64_t h = r.axis[1].from; h < r.axis[1].to; ++h)
      for (int64_t w = r.axis[2].from; w < r.axis[2].to; ++w)
        for (int64_t lane = 0; lane < width; lane += kPlanes) body(d, h, w, lane);
}

template <bool kWhere, class S>
CT_INLINE Best<kWhere, S> best_of(const PoolArgs& g, const Plan& plan, const Tile<const S>& x, int64_t d,
                                  int64_t h, int64_t w, int64_t lane) {
  const Window wd = plan.window[0][d], wh = plan.window[1][h], ww = plan.window[2][w];
  const int64_t row = g.axis[2].x_size, sheet = row * g.axis[1].x_size;
  Best<kWhere, S> best(wd.begin * sheet + wh.begin * row + ww.begin);
  for (int64_t i = wd.begin; i < wd.end; i += plan.step[0]) {
    for (int64_t j = wh.begin; j < wh.end; j += plan.step[1]) {
      const S* p = x.at(i, j, 0) + lane;
      for (int64_t l = ww.begin; l < ww.end; l += plan.step[2])
        best.take(p + l * x.step[2], i * sheet + j * row + l);
    }
  }
  return best;
}

template <class T, class S>
void max_forward(const PoolArgs& g) {
  const Plan plan(g, false);
  for_each_tile(g, g.axis[plan.split].y_size, plane_work(g), [&](const Group& group, Range range) {
    const Ranges ry = plan.whole_y(range), rx = plan.whole_x(plan.elements(range));
    const int64_t x_count = count_of(rx) * group.width, y_count = count_of(ry) * group.width;
    Scratch buffer(static_cast<size_t>(x_count + 2 * y_count) * sizeof(S));
    S *x_buffer = buffer.as<S>(), *y_buffer = x_buffer + x_count;
    const Tile<const S> x = load_tile<S, T>(g.x, group, rx, x_buffer);
    const Tile<S> y = begin_tile<S, T>(g.y, group, ry, y_buffer);
    if (g.indices) {
      place_t<S>* where = reinterpret_cast<place_t<S>*>(y_buffer + y_count);
      PoolOperand<void*> indices = g.y;
      indices.data = g.indices;
      const auto places = Tile<place_t<S>>::dense(where, ry, group.width);
      for_each_row(ry, group.width, [&](int64_t d, int64_t h, int64_t w, int64_t lane) {
        const auto best = best_of<true>(g, plan, x, d, h, w, lane);
        best.value.store(y.at(d, h, w) + lane);
        best.where.store(places.at(d, h, w) + lane);
      });
      for_each_run(indices, group.of<int64_t>(indices), ry, [&](int64_t* to, int64_t n, int64_t step) {
        for (int64_t l = 0; l < group.lanes; ++l)
          for (int64_t i = 0; i < n; ++i) to[l * indices.plane + i * step] = where[i * group.width + l];
        where += n * group.width;
      });
    } else {
      for_each_row(ry, group.width, [&](int64_t d, int64_t h, int64_t w, int64_t lane) {
        best_of<false>(g, plan, x, d, h, w, lane).value.store(y.at(d, h, w) + lane);
      });
    }
    finish_tile<T>(g.y, group, ry, y_buffer);
  });
}

// Every window over the tile finds again where its maximum stands; then every element of x takes the
// gradients of those windows over it whose maximum it is.
template <class T, class S>
void max_backward(const PoolArgs& g) {
  const Plan plan(g, false);
  const int64_t row = g.axis[2].x_size, sheet = row * g.axis[1].x_size;
  for_each_tile(g, g.axis[plan.split].x_size, 2 * plane_work(g), [&](const Group& group, Range range) {
    const Range windows = plan.windows(range);
    const Ranges rdx = plan.whole_x(range), ry = plan.whole_y(windows),
                 rx = plan.whole_x(windows.from < windows.to ? plan.elements(windows) : Range{0, 0});
    const int64_t dx_count = count_of(rdx) * group.width, x_count = count_of(rx) * group.width,
                  y_count = count_of(ry) * group.width;
    Scratch buffer(static_cast<size_t>(dx_count + x_count + 2 * y_count) * sizeof(S));
    S *dx_buffer = buffer.as<S>(), *x_buffer = dx_buffer + dx_count, *grad_buffer = x_buffer + x_count;
    const Tile<const S> x = load_tile<S, T>(g.x, group, rx, x_buffer),
                        grad = load_tile<S, T>(g.y_grad, group, ry, grad_buffer);
    const auto places =
        Tile<place_t<S>>::dense(reinterpret_cast<place_t<S>*>(grad_buffer + y_count), ry, group.width);
    for_each_row(ry, group.width, [&](int64_t d, int64_t h, int64_t w, int64_t lane) {
      best_of<true>(g, plan, x, d, h, w, lane).where.store(places.at(d, h, w) + lane);
    });
    const Tile<S> dx = begin_tile<S, T>(g.x_grad, group, rdx, dx_buffer);
    for_each_row(rdx, group.width, [&](int64_t d, int64_t h, int64_t w, int64_t lane) {
      const Cover cd = plan.cover[0][d], ch = plan.cover[1][h], cw = plan.cover[2][w];
      const auto here = LaneRow<place_t<S>>::all(static_cast<place_t<S>>(d * sheet + h * row + w));
      const LaneRow<S> none = LaneRow<S>::all(S(0));
      LaneRow<S> sum = none;
      for (int64_t i = cd.begin; i < cd.end; ++i) {
        for (int64_t j = ch.begin; j < ch.end; ++j) {
          for (int64_t l = cw.begin; l < cw.end; ++l) {
            const auto where = LaneRow<place_t<S>>::load(places.at(i, j, l) + lane);
            const LaneRow<S> value = LaneRow<S>::load(grad.at(i, j, l) + lane);
            for (int v = 0; v < LaneRow<S>::kVectors; ++v)
              sum.v[v] += where.v[v] == here.v[v] ? value.v[v] : none.v[v];
          }
        }
      }
      sum.store(dx.at(d, h, w) + lane);
    });
    finish_tile<T>(g.x_grad, group, rdx, dx_buffer);
  });
}

template <class S>
CT_INLINE S divisor_of(const PoolArgs& g, const Plan& plan, int64_t d, int64_t h, int64_t w) {
  if (g.divisor != 0) return static_cast<S>(g.divisor);
  const Window a = plan.window[0][d], b = plan.window[1][h], c = plan.window[2][w];
  if (g.count_include_pad) return static_cast<S>(a.extent * b.extent * c.extent);
  return static_cast<S>((a.end - a.begin) * (b.end - b.begin) * (c.end - c.begin));
}

template <class T, class S>
void mean_forward(const PoolArgs& g) {
  const Plan plan(g, true);
  for_each_tile(g, g.axis[plan.split].y_size, plane_work(g), [&](const Group& group, Range range) {
    const Ranges ry = plan.whole_y(range), rx = plan.whole_x(plan.elements(range));
    const int64_t x_count = count_of(rx) * group.width;
    Scratch buffer(static_cast<size_t>(x_count + count_of(ry) * group.width) * sizeof(S));
    S* y_buffer = buffer.as<S>() + x_count;
    const Tile<const S> x = load_tile<S, T>(g.x, group, rx, buffer.as<S>());
    const Tile<S> y = begin_tile<S, T>(g.y, group, ry, y_buffer);
    for_each_row(ry, group.width, [&](int64_t d, int64_t h, int64_t w, int64_t lane) {
      const Window wd = plan.window[0][d], wh = plan.window[1][h], ww = plan.window[2][w];
      LaneRow<S> sum = LaneRow<S>::all(S(0));
      for (int64_t i = wd.begin; i < wd.end; ++i) {
        for (int64_t j = wh.begin; j < wh.end; ++j) {
          const S* p = x.at(i, j, 0) + lane;
          for (int64_t l = ww.begin; l < ww.end; ++l) sum = sum + LaneRow<S>::load(p + l * x.step[2]);
        }
      }
      const S divisor = divisor_of<S>(g, plan, d, h, w);
      if (divisor == S(0)) {
        sum = LaneRow<S>::all(S(0));
      } else {
        sum = sum / LaneRow<S>::all(divisor);
      }
      sum.store(y.at(d, h, w) + lane);
    });
    finish_tile<T>(g.y, group, ry, y_buffer);
  });
}

// Every element of x takes a share of the gradient of each window over it.
template <class T, class S>
void mean_backward(const PoolArgs& g) {
  const Plan plan(g, true);
  for_each_tile(g, g.axis[plan.split].x_size, plane_work(g), [&](const Group& group, Range range) {
    const Ranges rx = plan.whole_x(range), ry = plan.whole_y(plan.windows(range));
    const int64_t y_count = count_of(ry) * group.width;
    Scratch buffer(static_cast<size_t>(y_count + count_of(rx) * group.width) * sizeof(S));
    S *shares = buffer.as<S>(), *x_buffer = shares + y_count;
    const Tile<const S> share = load_tile<S, T>(g.y_grad, group, ry, shares, true);
    S* p = shares;
    for_each_row(ry, group.width, [&](int64_t d, int64_t h, int64_t w, int64_t) {
      const S divisor = divisor_of<S>(g, plan, d, h, w);
      LaneRow<S> row = LaneRow<S>::load(p);
      if (divisor != S(0)) row = row / LaneRow<S>::all(divisor);
      row.store(p);
      p += kPlanes;
    });
    const Tile<S> x = begin_tile<S, T>(g.x_grad, group, rx, x_buffer);
    for_each_row(rx, group.width, [&](int64_t d, int64_t h, int64_t w, int64_t lane) {
      const Cover cd = plan.cover[0][d], ch = plan.cover[1][h], cw = plan.cover[2][w];
      LaneRow<S> sum = LaneRow<S>::all(S(0));
      for (int64_t i = cd.begin; i < cd.end; ++i)
        for (int64_t j = ch.begin; j < ch.end; ++j)
          for (int64_t l = cw.begin; l < cw.end; ++l) sum = sum + LaneRow<S>::load(share.at(i, j, l) + lane);
      sum.store(x.at(d, h, w) + lane);
    });
    finish_tile<T>(g.x_grad, group, rx, x_buffer);
  });
}

#define CT_POOL_FLOATS(fn)                             \
  case DType::float32: return fn<float, float>(g);     \
  case DType::float64: return fn<double, double>(g);   \
  case DType::float16: return fn<Half, float>(g);      \
  case DType::bfloat16: return fn<BFloat16, float>(g); \
  case DType::int64: return fn<int64_t, int64_t>(g);
#define CT_POOL_INTEGERS(fn)                         \
  case DType::uint8: return fn<uint8_t, int32_t>(g); \
  case DType::int8: return fn<int8_t, int32_t>(g);   \
  case DType::int16: return fn<int16_t, int32_t>(g); \
  case DType::int32: return fn<int32_t, int32_t>(g);

void pool_max(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(max_forward)
    CT_POOL_INTEGERS(max_forward)
    default: return;
  }
}
void pool_max_backward(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(max_backward)
    CT_POOL_INTEGERS(max_backward)
    default: return;
  }
}
void pool_mean(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(mean_forward)
    default: return;
  }
}
void pool_mean_backward(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(mean_backward)
    default: return;
  }
}
#undef CT_POOL_FLOATS
#undef CT_POOL_INTEGERS

}  // namespace

void fill_pool(PoolTable& table) {
  table = {.max = pool_max,
           .max_backward = pool_max_backward,
           .mean = pool_mean,
           .mean_backward = pool_mean_backward};
}

}  // namespace ctorch::CT_ISA
