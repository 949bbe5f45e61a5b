// Convolutions of bfloat16 on AMX tiles, and those of floats as sums of bfloat16 pieces (see gemm.cpp).
#include "kernels/cpu/amx/conv_filter_tiles.h"
#include "kernels/cpu/amx/conv_tiles.h"
#include "kernels/cpu/conv_products.h"
#include "kernels/cpu/winograd_tiles.h"

namespace ctorch::CT_ISA {
namespace {

// The kernels of the level below.
ConvTable g_plain;

// Multiply-adds that are worth the start of tiles.
constexpr int64_t kLeastWork = 64 * 64 * 64;

// How many times as fast as multiply-adds of floats, in nanoseconds of a step of a pair of panels, fitted to
// what was measured: the products, the packing of the columns for all rows, and the way of the filter from
// the L3.
double gain(int64_t rows, int64_t points) {
  const auto panels = [](int64_t lanes) { return static_cast<double>(ceil_div(lanes, kPanel)); };
  return 468 / (230 + 420 / panels(rows) + 245 / panels(points));
}

// Not where tiles stay mostly empty, and floats where neither multiply-adds nor Winograd's method with them
// are faster.
template <class T>
bool wins(const TapProduct<T>& p) {
  constexpr int64_t kFewestRows = 12, kFewestChannels = std::is_same_v<T, float> ? 8 : 2, kLeastDepth = 32;
  constexpr double kLeastGain = 1;
  const TapLayout& l = p.layout;
  const int64_t points = p.batch * l.points();
  const bool enough =
      p.rows >= kFewestRows && l.channels >= kFewestChannels && l.depth() >= kLeastDepth && points >= kTile;
  if constexpr (std::is_same_v<T, float>) {
    const WinogradTiles tiles(l, p.batch);
    const double gained = g_small_floats_too ? 2 : gain(p.rows, points);
    if (gained < kLeastGain || winograd_wins(l, tiles, WinogradTerms(l, tiles), p.rows, points, gained))
      return false;
  }
  return enough;
}

// Nor where there is little to do. Phases of a stride that no tap reaches go with the others.
template <class T>
bool all_win(const ConvArgs& g, bool backward) {
  bool all = true;
  int64_t work = 0;
  for_each_product<T>(g, backward, [&](const TapProduct<T>& p) {
    if (p.layout.depth() == 0) return;
    work += p.groups * p.rows * p.layout.depth() * p.batch * p.layout.points();
    all = all && wins(p);
  });
  return all && work >= kLeastWork;
}
bool on_tiles(const ConvArgs& g, bool backward) {
  return g.dtype == DType::bfloat16  ? all_win<BFloat16>(g, backward)
         : g.dtype == DType::float32 ? all_win<float>(g, backward)
                                     : false;
}

void run(ConvArgs g, bool backward) {
  if (on_tiles(g, backward)) {
    const bool done = g.dtype == DType::bfloat16 ? run_by<BFloat16, TileConvolution<BFloat16>>(g, backward)
                                                 : run_by<float, TileConvolution<float>>(g, backward);
    if (done) return;
    g.prepared = nullptr;
  }
  backward ? g_plain.backward_x(g) : g_plain.forward(g);
}
void forward(const ConvArgs& g) { run(g, false); }
void backward_x(const ConvArgs& g) { run(g, true); }

bool takes(const ConvArgs& g, bool backward) { return on_tiles(g, backward) || g_plain.takes(g, backward); }

// The gradient of a filter: not where most of a tile would be empty, nor for so few rows that tiles would
// take as long as the packing of y for them. Packing of floats takes three times as long: tiles must beat
// multiply-adds, and Winograd's method where the level below would take it (by a margin of its own, see
// WinogradFilterGradient).
template <class T>
bool filter_wins(const FilterProduct<T>& p) {
  constexpr int64_t kFewestColumns = 8, kLeastDepth = 24;
  constexpr double kLeastGain = 1.05, kWinogradGain = 1.3;
  const TapLayout& l = p.layout;
  const int64_t points = p.batch * l.points();
  if (p.cols < kFewestColumns || l.depth() < kLeastDepth || points < kStep ||
      p.groups * p.cols * l.depth() * points < kLeastWork)
    return false;
  if constexpr (std::is_same_v<T, float>) {
    const double gain = TileFilterGradient<T>(p).gain();
    const WinogradTiles tiles(l, p.batch);
    return gain >= kLeastGain &&
           !winograd_wins(l, tiles, WinogradTerms(l, tiles), p.cols, points, std::max(gain, kWinogradGain));
  }
  return true;
}
template <class T>
bool filter_on_tiles(const ConvArgs& g) {
  return with_filter_product<T>(g, {}, filter_wins<T>);
}
// False, and nothing written, where it does not go on tiles.
template <class T>
bool filter_by_tiles(const ConvArgs& g) {
  if (!filter_on_tiles<T>(g)) return false;
  FlushDenormals flush;
  return with_filter_product<T>(g, {},
                                [](const FilterProduct<T>& p) { return TileFilterGradient<T>(p).run(); });
}

bool takes_backward_w(const ConvArgs& g) {
  return g_plain.takes_backward_w(g) || (g.dtype == DType::bfloat16 && filter_on_tiles<BFloat16>(g));
}
void backward_w(const ConvArgs& g) {
  const bool done = g.dtype == DType::bfloat16  ? filter_by_tiles<BFloat16>(g)
                    : g.dtype == DType::float32 ? filter_by_tiles<float>(g)
                                                : false;
  if (!done) g_plain.backward_w(g);
}

ConvForm form(const ConvArgs& g, bool backward) {
  if (!on_tiles(g, backward)) return g_plain.form(g, backward);
  return g.dtype == DType::bfloat16 ? form_by<BFloat16, TileConvolution<BFloat16>>(g, backward)
                                    : form_by<float, TileConvolution<float>>(g, backward);
}
void prepare(const ConvArgs& g, bool backward, void* to) {
  if (!on_tiles(g, backward)) return g_plain.prepare(g, backward, to);
  g.dtype == DType::bfloat16 ? prepare_by<BFloat16, TileConvolution<BFloat16>>(g, backward, to)
                             : prepare_by<float, TileConvolution<float>>(g, backward, to);
}

bool prefers_planes(const ConvArgs& g, bool backward) {
  return on_tiles(g, backward) || g_plain.prefers_planes(g, backward);
}

// Images of few points: a product for each would pack the filter anew.
bool joins_points(const ConvArgs& g, bool backward) {
  constexpr int64_t kFewPoints = 256, kWidth = 2 + kConvDims - 1;
  const bool planes = g.x_strides[kWidth] == 1 && g.y_strides[kWidth] == 1;
  return planes && g.y_size[0] * g.y_size[1] * g.y_size[2] <= kFewPoints && on_tiles(g, backward);
}

}  // namespace

void fill_conv(ConvTable& table) {
  g_plain = table;
  table.forward = forward;
  table.backward_x = backward_x;
  table.backward_w = backward_w;
  table.takes = takes;
  table.takes_backward_w = takes_backward_w;
  table.form = form;
  table.prepare = prepare;
  table.prefers_planes = prefers_planes;
  table.joins_points = joins_points;
}

}  // namespace ctorch::CT_ISA
