// Convolutions of bfloat16 as sums over taps of pairs of channels.
#include "kernels/cpu/avx512_bf16/conv_filter_pairs.h"
#include "kernels/cpu/conv_products.h"
#include "kernels/cpu/winograd_tiles.h"

namespace ctorch::CT_ISA {
namespace {

constexpr TileKernels<Pair, float> kGatheredPairTiles = make_pair_tiles<GatheredB>(TileWidths());

// The format in which an element is a pair of neighbouring channels.
struct PairTaps {
  using Input = BFloat16;
  using Element = Pair;
  using Sum = float;
  static constexpr int64_t step = 2;
  static constexpr bool in_place = false;

  const TapProduct<BFloat16>& p;

  // The second channel of a pair, where the first of it lies at `first`; null beyond an odd number of them.
  const BFloat16* second(int64_t pair, const BFloat16* first, int64_t channel_stride) const {
    return 2 * pair + 1 < p.layout.channels ? first + channel_stride : nullptr;
  }

  void lay_out_channels(const TapLayout& l, Pair* to, const BFloat16* x, int64_t from, int64_t end) const {
    const TapAxis& w = l.axis[2];
    const int64_t stride = p.x_strides[2], pitch = w.step * stride;
    for (int64_t c = from; c < end; ++c) {
      const BFloat16* channel = x + 2 * c * p.x_channel;
      lay_out_channel(l, to + c * l.channel, p.x_strides, [&](Pair* row, int64_t at, int64_t start) {
        padded_row(row, l.extent[2], w.x_size, w.step, start,
                   [&](Pair* points, int64_t point, int64_t count) {
                     const BFloat16* first = channel + at + point * stride;
                     pair_points(points, first, second(c, first, p.x_channel), pitch, count);
                   });
      });
    }
  }
  // Rows are brought into pairs, some at a time, and transposed.
  void pack(Pair* panel, int64_t width, int64_t rows, const BFloat16* w, const int64_t* offset,
            const TapLayout& l) const {
    constexpr int64_t kRun = 256, lanes = kLanes<Pair>;
    const bool dense = is_dense(offset, l.taps);
    const int64_t channels = std::clamp<int64_t>(kRun / l.taps, 1, l.channels);  // at a time
    Scratch memory(static_cast<size_t>(lanes * channels * l.taps) * sizeof(Pair));
    Pair* run = memory.as<Pair>();
    for (int64_t c = 0; c < l.channels; c += channels) {
      const int64_t n = std::min(channels, l.channels - c), k = c * l.taps;
      for (int64_t i = 0; i < width; i += lanes) {
        const int64_t count = std::clamp<int64_t>(rows - i, 0, lanes);
        for (int64_t r = 0; r < count; ++r)
          pair_taps(run + r * n * l.taps, w + (i + r) * p.w_row, offset, l.taps, dense, c, c + n);
        pack_rows_along_k<Pair>(panel + k * width + i, width, count, n * l.taps, run, n * l.taps);
      }
    }
    fill_missing(panel, width, rows, l.depth());
  }
  // The taps of pairs [from, end) of channels, of one row of the filter.
  void pair_taps(Pair* to, const BFloat16* w, const int64_t* offset, int64_t taps, bool dense, int64_t from,
                 int64_t end) const {
    for (int64_t c = from; c < end; ++c, to += taps) {
      const BFloat16* first = w + 2 * c * p.w_strides[0];
      const BFloat16* other = second(c, first, p.w_strides[0]);
      if (dense) {
        pair_rows<1>(to, first, other, taps);
        continue;
      }
      for (int64_t t = 0; t < taps; ++t)
        to[t] = pair_of(first[offset[t]], other ? other[offset[t]] : BFloat16{});
    }
  }

  static CT_INLINE void store(BFloat16* y, Simd<float>::Vector v, int64_t count) {
    store_rounded(y, v, count);
  }
  static const TileKernels<Pair, float>& gathered_tiles() { return kGatheredPairTiles; }
  static const TileKernels<Pair, float>& packed_tiles() { return kPackedPairTiles; }
};

using PairConvolution = TapConvolution<PairTaps>;

// Of the other levels: for other types.
ConvTable g_plain;

// Against float copies, whose multiply-adds cost twice as much, but Winograd's method needs a fraction of
// them: measured, it wins from a third on (3 x 3 at stride 1; not at stride 2, nor for images of 7 x 7). A
// single channel fills only half of each pair, which costs no more than the copies; few rows leave register
// tiles empty, and have a method of their own (DepthwiseConvolution).
bool wins(const TapProduct<BFloat16>& p) {
  constexpr int64_t kFewestRows = 8;
  constexpr double kGain = 3;
  const TapLayout& l = p.layout;
  if (p.rows < kFewestRows) return false;
  const WinogradTiles tiles(l, p.batch);
  const WinogradTerms terms(l, tiles);
  const int64_t points = p.batch * l.axis[0].grid * ceil_div(l.columns(), kLanes<float>) * kLanes<float>;
  return !winograd_wins(l, tiles, terms, p.rows, points, kGain);
}

// The same for the gradient of a filter. Depthwise filters have a method of their own.
bool filter_wins(const FilterProduct<BFloat16>& p) {
  constexpr int64_t kFewestColumns = 8;
  constexpr double kGain = 2;
  const TapLayout& l = p.layout;
  if (p.cols < kFewestColumns || l.depth() < kFewestColumns) return false;
  const WinogradTiles tiles(l, p.batch);
  return !winograd_wins(l, tiles, WinogradTerms(l, tiles), p.cols, p.batch * l.points(), kGain);
}
bool takes_backward_w(const ConvArgs& g) {
  if (g.dtype != DType::bfloat16) return g_plain.takes_backward_w(g);
  return with_filter_product<BFloat16>(g, {}, filter_wins);
}
void backward_w(const ConvArgs& g) {
  if (g.dtype != DType::bfloat16) return g_plain.backward_w(g);
  FlushDenormals flush;
  with_filter_product<BFloat16>(
      g, {}, [](const FilterProduct<BFloat16>& p) { FilterGradient<PairFilter>(p).run(); });
}

bool takes(const ConvArgs& g, bool backward) {
  if (g.dtype != DType::bfloat16) return g_plain.takes(g, backward);
  bool all = true;
  for_each_product<BFloat16>(g, backward, [&](const TapProduct<BFloat16>& p) { all = all && wins(p); });
  return all;
}

void run(const ConvArgs& g, bool backward) { run_by<BFloat16, PairConvolution>(g, backward); }
void forward(const ConvArgs& g) { g.dtype == DType::bfloat16 ? run(g, false) : g_plain.forward(g); }
void backward_x(const ConvArgs& g) { g.dtype == DType::bfloat16 ? run(g, true) : g_plain.backward_x(g); }

ConvForm form(const ConvArgs& g, bool backward) {
  return g.dtype == DType::bfloat16 ? form_by<BFloat16, PairConvolution>(g, backward)
                                    : g_plain.form(g, backward);
}
void prepare(const ConvArgs& g, bool backward, void* to) {
  g.dtype == DType::bfloat16 ? prepare_by<BFloat16, PairConvolution>(g, backward, to)
                             : g_plain.prepare(g, backward, to);
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
}

}  // namespace ctorch::CT_ISA
