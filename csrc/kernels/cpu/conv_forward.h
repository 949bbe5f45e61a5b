// The sum over taps for whole images: y = sum of filter times shifted image, for forward and backward_x
// alike.
#pragma once

#include "kernels/cpu/conv_taps.h"

namespace ctorch::CT_ISA {
namespace {

// y[o, q] = alpha * sum + bias[o], or added to what y holds.
template <class T>
struct TapProduct {
  TapLayout layout;
  int64_t batch, groups, rows;  // rows: of y in one group
  const T* x;
  int64_t x_image, x_group, x_channel, x_strides[kConvDims];
  const T* w;
  int64_t w_group, w_row, w_strides[1 + kConvDims];  // of channel and taps
  T* y;
  int64_t y_image, y_group, y_row, y_strides[kConvDims];
  const T* bias;
  int64_t bias_stride;
  T alpha;
  bool accumulate;
};

// Points that follow one another in a laid-out image and in the result, and their place among those of a
// panel.
template <class T, class E>
struct PointRun {
  const E* x;
  T* y;
  int64_t at, count;
};

// Points [begin, begin + count) of the images from first_image on, one image after the other, as runs; their
// number. No run goes beyond a multiple of `cut`.
template <class T, class E>
int64_t find_runs(PointRun<T, E>* runs, const TapProduct<T>& p, const TapLayout& l, const E* x, int64_t group,
                  int64_t first_image, int64_t begin, int64_t count, int64_t cut) {
  const int64_t points = l.points();
  int64_t n = 0;
  for (int64_t at = 0; at < count; at += runs[n++].count) {
    const int64_t image = (begin + at) / points;
    int64_t q[kConvDims];
    l.coordinates((begin + at) % points, q);
    T* y = p.y + (first_image + image) * p.y_image + group * p.y_group;
    for (int d = 0; d < kConvDims; ++d) y += q[d] * p.y_strides[d];
    runs[n] = {x + image * l.size() + l.place(q), y, at,
               std::min({l.axis[2].grid - q[2], count - at, cut - at % cut})};
  }
  return n;
}

// Writes rows of sums, tile_row apart, to neighbouring points from y on: alpha * sum, and the bias of the
// row. Format has store().
template <class Format, class T, class S>
void store_run(const TapProduct<T>& p, S alpha, T* y, const T* bias, const S* tile, int64_t tile_row,
               int64_t rows, int64_t count) {
  constexpr int64_t lanes = kLanes<S>;
  const int64_t pitch = p.y_strides[2];
  for (int64_t i = 0; i < rows; ++i, y += p.y_row, tile += tile_row) {
    const S shift = bias ? bias[i * p.bias_stride] : S(0);
    for (int64_t j = 0; j < count; j += lanes) {
      const auto sums = load_vector(tile + j) * alpha + shift;
      if (pitch == 1 && !p.accumulate) {
        Format::store(y + j, sums, count - j);
        continue;
      }
      alignas(64) T lane[lanes];
      Format::store(lane, sums, lanes);
      T* to = y + j * pitch;
      for (int64_t l = 0; l < std::min(lanes, count - j); ++l, to += pitch)
        *to = p.accumulate ? static_cast<T>(*to + lane[l]) : lane[l];
    }
  }
}

// What a TapConvolution computes with: the Elements of which the laid-out image and the filter consist, each
// for `step` neighbouring channels of the operands (Inputs, as is the result); how they are brought there;
// and the kernels that sum them. This one takes them as they are.
template <class S>
struct PlainTaps {
  using Input = S;
  using Element = S;
  using Sum = S;
  static constexpr int64_t step = 1;
  static constexpr bool in_place = true;  // filters can be read where they lie

  const TapProduct<S>& p;

  // Channels [from, end) of the layout.
  void lay_out_channels(const TapLayout& l, S* to, const S* x, int64_t from, int64_t end) const {
    lay_out(l, to, x, p.x_channel, p.x_strides, from, end);
  }
  // Some rows of the filter, from w on: element (row i, k) to panel[k * width + i]. What is missing of the
  // width is filled with zeros.
  void pack(S* panel, int64_t width, int64_t rows, const S* w, const int64_t* offset,
            const TapLayout& l) const {
    const int64_t depth = l.depth();
    if (is_dense(offset, depth)) return pack_panel(panel, width, rows, depth, w, p.w_row, int64_t{1});
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t i = 0; i < width; ++i) panel[k * width + i] = i < rows ? w[i * p.w_row + offset[k]] : S(0);
    }
  }
  // A vector of a row of the result, or so much of it.
  static CT_INLINE void store(S* y, typename Simd<S>::Vector v, int64_t count) {
    count < kLanes<S> ? store_partial(y, v, count) : store_vector(y, v);
  }
  static constexpr const TileKernels<S>& gathered_tiles() { return kGatheredBTiles<S>; }
  static constexpr const TileKernels<S>& packed_tiles() { return kPackedTiles<S>; }
};

template <class Format>
class TapConvolution {
  using T = typename Format::Input;
  using E = typename Format::Element;
  using S = typename Format::Sum;
  using Blocks = GemmBlocks<S>;
  static constexpr bool kJoins = std::is_floating_point_v<S>;  // see images_joined()
  static_assert(sizeof(E) == sizeof(S));

 public:
  using Element = E;

  explicit TapConvolution(const TapProduct<T>& p)
      : p_(p),
        format_{p_},
        l_(in_elements(p_.layout)),
        panels_(p.rows, Blocks::rows),
        depth_(l_.depth()),
        tiles_(ceil_div(l_.columns(), Blocks::cols)),
        offsets_(static_cast<size_t>(2 * depth_ + 1) * sizeof(int64_t)),
        image_offset_(offsets_.as<int64_t>()),
        filter_offset_(image_offset_ + depth_) {
    const int64_t w_strides[] = {Format::step * p.w_strides[0], p.w_strides[1], p.w_strides[2],
                                 p.w_strides[3]};
    l_.offsets(image_offset_, filter_offset_, w_strides);
    few_ = depth_ > 0 && few_points_in_all() && (!Format::in_place || is_dense(filter_offset_, depth_));
  }

  // Elements of the filter in the form in which run() reads it: its rows in panels, those of Blocks::rows, or
  // for few points of Blocks::cols.
  int64_t prepared_elements() const {
    return p_.groups * depth_ * (few_ ? ceil_div(p_.rows, Blocks::cols) * Blocks::cols : p_.rows);
  }
  // Whether run(nullptr) reads the filter as it is: to prepare it for one use would not pay.
  bool reads_in_place() const { return Format::in_place && few_; }
  int64_t kind() const { return few_ ? 3 : 2; }

  void prepare(E* to) const {
    if (depth_ == 0) return;
    if (few_) return prepare_columns(to);
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (Blocks::rows * depth_));
    parallel_for(0, p_.groups * panels_.count, grain, [&](int64_t from, int64_t end) {
      for (int64_t i = from; i < end; ++i) {
        const int64_t group = i / panels_.count, panel = i % panels_.count, first = panels_.start(panel);
        const int64_t rows = panels_.rows(panel);
        format_.pack(to + (group * p_.rows + first) * depth_, rows, rows, filter_rows(group, first),
                     filter_offset_, l_);
      }
    });
  }

  // True: it can do all.
  bool run(const E* prepared) {
    filter_ = prepared;
    if constexpr (kJoins) {
      if (few_ && prepared) {
        few_points();
        return true;
      }
      if (few_ || joining_saves()) {
        images_joined();
        return true;
      }
    }
    const int64_t images = p_.batch * p_.groups;
    const int64_t work = p_.rows * depth_ * tiles_ * Blocks::cols * l_.axis[0].grid;
    if (images >= 4 * num_threads() || work < kImageWork) {
      images_side_by_side(images, work);
    } else {
      images_in_turn(images);
    }
    return true;
  }

 private:
  static TapLayout in_elements(TapLayout l) {
    l.channels = ceil_div(l.channels, Format::step);
    return l;
  }
  size_t image_bytes() const { return static_cast<size_t>(l_.size() + TapLayout::kSlack) * sizeof(E); }
  const T* filter_rows(int64_t group, int64_t first) const {
    return p_.w + group * p_.w_group + first * p_.w_row;
  }
  const T* image(int64_t i) const { return p_.x + i / p_.groups * p_.x_image + i % p_.groups * p_.x_group; }

  void images_side_by_side(int64_t images, int64_t work) {
    parallel_for(0, images, std::max<int64_t>(1, kPieceWork / (work + 1)), [&](int64_t from, int64_t to) {
      Scratch laid_out(image_bytes());
      E* x = laid_out.as<E>();
      for (int64_t i = from; i < to; ++i) {
        format_.lay_out_channels(l_, x, image(i), 0, l_.channels);
        multiply(i, x, 0, panels_.count, 0, l_.axis[0].grid * tiles_);
      }
    });
  }

  void images_in_turn(int64_t images) {
    Scratch laid_out(image_bytes());
    E* x = laid_out.as<E>();
    const int64_t tiles = l_.axis[0].grid * tiles_;
    // Rectangles of panels and tiles: enough for all threads.
    const int64_t wide = std::max<int64_t>(1, ceil_div(tiles, 2 * num_threads()));
    const int64_t across = ceil_div(tiles, wide);
    const int64_t down = std::min(panels_.count, ceil_div(4 * num_threads(), across));
    const int64_t high = ceil_div(panels_.count, down);
    for (int64_t i = 0; i < images; ++i) {
      const int64_t grain = std::max<int64_t>(1, kPackGrain / (l_.channel + 1));
      parallel_for(0, l_.channels, grain,
                   [&](int64_t from, int64_t to) { format_.lay_out_channels(l_, x, image(i), from, to); });
      parallel_for(0, down * across, 1, [&](int64_t from, int64_t to) {
        for (int64_t task = from; task < to; ++task) {
          const int64_t panel = task / across * high, tile = task % across * wide;
          multiply(i, x, panel, std::min(panel + high, panels_.count), tile, std::min(tile + wide, tiles));
        }
      });
    }
  }

  // Panels and tiles of one laid-out image. Blocks of tiles whose part of the image stays in the L2 are
  // visited once per panel.
  void multiply(int64_t i, const E* x, int64_t panel_from, int64_t panel_to, int64_t tile_from,
                int64_t tile_to) const {
    const int64_t block =
        std::max<int64_t>(1, kBlockElements / (Blocks::cols * std::max<int64_t>(1, l_.channels)));
    const E* filter = filter_ + i % p_.groups * p_.rows * depth_;
    const int64_t group = i % p_.groups;
    T* y = p_.y + i / p_.groups * p_.y_image + group * p_.y_group;
    const T* bias = p_.bias ? p_.bias + group * p_.rows * p_.bias_stride : nullptr;
    alignas(64) S tile[Blocks::rows * Blocks::cols + Blocks::lanes];
    TileArgs<E, S> t{};
    t.k = depth_;
    t.offset = image_offset_;
    t.tile = tile;
    for (int64_t begin = tile_from; begin < tile_to; begin += block) {
      const int64_t end = std::min(begin + block, tile_to);
      for (int64_t panel = panel_from; panel < panel_to; ++panel) {
        const int64_t first = panels_.start(panel), rows = panels_.rows(panel);
        for (int64_t at = begin; at < end; ++at) {
          const int64_t sheet = at / tiles_, column = at % tiles_ * Blocks::cols;
          const int64_t columns = std::min(Blocks::cols, l_.columns() - column);
          t.b = x + sheet * l_.sheet() + column;
          const TileKernel<E, S> product =
              Format::gathered_tiles().get(rows, ceil_div(columns, Blocks::lanes));
          t.a = filter + first * depth_;
          product(t);
          store(y + first * p_.y_row + sheet * p_.y_strides[0],
                bias ? bias + first * p_.bias_stride : nullptr, tile, rows, column, columns);
        }
      }
    }
  }

  // Small images: their points one after the other, without the gaps between rows, so that no column of a
  // tile is computed in vain. The columns of a tile are then copied into a packed panel.
  bool joining_saves() const {
    if (p_.rows < 4 * Blocks::rows) return false;  // the copy would not pay
    const int64_t apart = p_.batch * l_.axis[0].grid * ceil_div(l_.columns(), Blocks::lanes) * Blocks::lanes;
    const int64_t joined = ceil_div(p_.batch * points(), Blocks::lanes) * Blocks::lanes;
    return depth_ > 0 && apart * 10 > joined * 11;
  }
  // So few that a packed filter would hardly be used.
  bool few_points_in_all() const {
    return kJoins && p_.rows >= 4 * Blocks::rows && p_.batch * points() <= 256;
  }
  int64_t points() const { return l_.points(); }

  using Run = PointRun<T, E>;

  void images_joined() {
    const int64_t most = std::clamp<int64_t>(kJoinedElements / l_.size(), 1, p_.batch);
    Scratch laid_out((static_cast<size_t>(most * l_.size()) + TapLayout::kSlack) * sizeof(E));
    E* x = laid_out.as<E>();
    for (int64_t group = 0; group < p_.groups; ++group) {
      for (int64_t first = 0; first < p_.batch; first += most) {
        const int64_t images = std::min(most, p_.batch - first);
        lay_out_images(x, group, first, images);
        // Few panels of columns are shared by several tasks, each of which copies them.
        const int64_t across = ceil_div(images * points(), Blocks::cols);
        const int64_t down = std::clamp<int64_t>(2 * num_threads() / across, 1, panels_.count);
        parallel_for(0, across * down, 1, [&](int64_t from, int64_t to) {
          for (int64_t i = from; i < to; ++i) {
            const int64_t part = i % down;
            joined_panel(x, group, first, images, i / down, part * panels_.count / down,
                         (part + 1) * panels_.count / down);
          }
        });
      }
    }
  }

  void lay_out_images(E* x, int64_t group, int64_t first, int64_t images) const {
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (l_.channel + 1));
    parallel_for(0, images * l_.channels, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t at = i / l_.channels, channel = i % l_.channels;
        format_.lay_out_channels(l_, x + at * l_.size(), image((first + at) * p_.groups + group), channel,
                                 channel + 1);
      }
    });
  }

  void joined_panel(const E* x, int64_t group, int64_t first_image, int64_t images, int64_t panel,
                    int64_t row_from, int64_t row_to) const {
    const int64_t begin = panel * Blocks::cols, columns = std::min(Blocks::cols, images * points() - begin);
    Run runs[Blocks::cols];
    const int64_t count = find_runs(runs, p_, l_, x, group, first_image, begin, columns, Blocks::cols);
    const int64_t vectors = ceil_div(columns, Blocks::lanes);
    // A run of columns is read by whole vectors, from the last row also beyond its end.
    Scratch memory(
        static_cast<size_t>((depth_ + 1 + panels_.count * Blocks::rows) * Blocks::cols + Blocks::lanes) *
        sizeof(S));
    E* packed = memory.as<E>();
    S* sums = memory.as<S>() + (depth_ + 1) * Blocks::cols;
    for (int64_t k = 0; k < depth_; ++k) {
      // Whole vectors: what they write beyond a run, the next run or row overwrites.
      for (int64_t r = 0; r < count; ++r) {
        const E* from = runs[r].x + image_offset_[k];
        E* to = packed + k * Blocks::cols + runs[r].at;
        for (int64_t c = 0; c < runs[r].count; c += Blocks::lanes)
          store_vector(to + c, load_vector(from + c));
      }
    }
    TileArgs<E, S> t{};
    t.k = depth_;
    t.b = packed;
    t.b_k = Blocks::cols;
    t.a_row = p_.w_row;
    t.a_k = 1;
    for (int64_t i = row_from; i < row_to; ++i) {
      const int64_t first = panels_.start(i), rows = panels_.rows(i);
      t.a = rows_of_filter(group, first);
      t.tile = sums + first * Blocks::cols;
      filter_tiles().get(rows, vectors)(t);
    }
    const int64_t row = panels_.start(row_from), rows = panels_.start(row_to) - row;
    const T* bias = p_.bias ? p_.bias + (group * p_.rows + row) * p_.bias_stride : nullptr;
    for (int64_t r = 0; r < count; ++r)
      store_run<Format>(p_, alpha_, runs[r].y + row * p_.y_row, bias, sums + row * Blocks::cols + runs[r].at,
                        Blocks::cols, rows, runs[r].count);
  }

  // Rows of the filter from `first` on, prepared or (for few points) in place, and the kernels for them.
  const E* rows_of_filter(int64_t group, int64_t first) const {
    if constexpr (Format::in_place) {
      if (few_) return filter_rows(group, first);
    }
    return filter_ + (group * p_.rows + first) * depth_;
  }
  const TileKernels<E, S>& filter_tiles() const {
    if constexpr (Format::in_place) {
      if (few_) return kStridedTiles<S>;
    }
    return Format::packed_tiles();
  }

  void prepare_columns(E* to) const {
    const int64_t panels = ceil_div(p_.rows, Blocks::cols);
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (Blocks::cols * depth_));
    parallel_for(0, p_.groups * panels, grain, [&](int64_t from, int64_t end) {
      for (int64_t i = from; i < end; ++i) {
        const int64_t first = i % panels * Blocks::cols;
        format_.pack(to + i * depth_ * Blocks::cols, Blocks::cols, std::min(Blocks::cols, p_.rows - first),
                     filter_rows(i / panels, first), filter_offset_, l_);
      }
    });
  }

  // Few points and a filter that is prepared already: the transposed product, whose rows are the points,
  // which fill register tiles better than as columns.
  void few_points() const {
    const int64_t count = p_.batch * points(), panels = ceil_div(p_.rows, Blocks::cols);
    const Panels rows(count, Blocks::rows);
    Scratch laid_out((static_cast<size_t>(p_.batch * l_.size()) + TapLayout::kSlack) * sizeof(E));
    Scratch gathered(static_cast<size_t>(count * depth_) * sizeof(E));
    E* x = laid_out.as<E>();
    E* packed = gathered.as<E>();
    for (int64_t group = 0; group < p_.groups; ++group) {
      lay_out_images(x, group, 0, p_.batch);
      parallel_for(0, rows.count, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i)
          gather_points(packed + rows.start(i) * depth_, x, group, rows.start(i), rows.rows(i));
      });
      // A task is a panel of the filter with a block of points that stays in the L2 from one panel to the
      // next.
      int64_t block = std::clamp<int64_t>(kBlockElements / (Blocks::rows * depth_), 1, rows.count);
      while (block > 1 && ceil_div(rows.count, block) * panels < 4 * num_threads())
        block = ceil_div(block, 2);
      parallel_for(0, ceil_div(rows.count, block) * panels, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          const int64_t first = i / panels * block, last = std::min(first + block, rows.count);
          for (int64_t r = first; r < last; ++r)
            points_tile(x, packed, group, rows.start(r), rows.rows(r), i % panels);
        }
      });
    }
  }

  // Points [first, first + count), packed as the rows of a product.
  void gather_points(E* panel, const E* x, int64_t group, int64_t first, int64_t count) const {
    constexpr int64_t kSteps = 128;  // that stay in the L1 from one run to the next
    Run runs[Blocks::rows];
    const int64_t n = find_runs(runs, p_, l_, x, group, 0, first, count, Blocks::rows);
    for (int64_t k = 0; k < depth_; k += kSteps) {
      const int64_t end = std::min(k + kSteps, depth_);
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t c = 0; c < runs[r].count; c += Blocks::lanes) {
          const int64_t width = std::min(Blocks::lanes, runs[r].count - c);
          E* to = panel + runs[r].at + c;
          for (int64_t step = k; step < end; ++step)
            store_partial(to + step * count, load_vector(runs[r].x + c + image_offset_[step]), width);
        }
      }
    }
  }

  // Some points, packed, with a panel of rows of the result.
  void points_tile(const E* x, const E* packed, int64_t group, int64_t first, int64_t count,
                   int64_t panel) const {
    alignas(64) S tile[Blocks::rows * Blocks::cols];
    const int64_t panels = ceil_div(p_.rows, Blocks::cols);
    const int64_t row = panel * Blocks::cols, rows = std::min(Blocks::cols, p_.rows - row);
    const TileKernel<E, S> product = Format::packed_tiles().get(count, ceil_div(rows, Blocks::lanes));
    TileArgs<E, S> t{};
    t.k = depth_;
    t.a = packed + first * depth_;
    t.b = filter_ + (group * panels + panel) * depth_ * Blocks::cols;
    t.b_k = Blocks::cols;
    t.tile = tile;
    product(t);
    Run runs[Blocks::rows];
    const int64_t n = find_runs(runs, p_, l_, x, group, 0, first, count, Blocks::rows);
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t c = 0; c < rows; ++c) {
        const S shift = p_.bias ? p_.bias[(group * p_.rows + row + c) * p_.bias_stride] : S(0);
        T* y = runs[r].y + (row + c) * p_.y_row;
        for (int64_t i = 0; i < runs[r].count; ++i) {
          T& to = y[i * p_.y_strides[2]];
          const S value = tile[(runs[r].at + i) * Blocks::cols + c] * alpha_ + shift;
          to = static_cast<T>(p_.accumulate ? to + value : value);
        }
      }
    }
  }

  // The columns of a tile that are points of the grid, row by row of the grid.
  void store(T* y, const T* bias, const S* tile, int64_t rows, int64_t column, int64_t columns) const {
    const int64_t pitch = l_.extent[2], width = l_.axis[2].grid;
    for (int64_t done = 0; done < columns;) {
      const int64_t h = (column + done) / pitch, w = (column + done) % pitch;
      const int64_t left = std::min(pitch - w, columns - done);
      if (w < width)
        store_run<Format>(p_, alpha_, y + h * p_.y_strides[1] + w * p_.y_strides[2], bias, tile + done,
                          Blocks::cols, rows, std::min(width - w, left));
      done += left;
    }
  }

  // Elements to pack, and multiply-adds, that are worth a thread; multiply-adds of an image that is worth all
  // threads.
  static constexpr int64_t kPackGrain = 1 << 15, kPieceWork = 1 << 18, kImageWork = 1 << 21;
  // Elements of the images that are laid out at a time: 8 MB of floats.
  static constexpr int64_t kJoinedElements = 1 << 21;
  // Elements of the image in one block: 512 KB of floats in an L2 of 1 MB or more, half of it where levels
  // below AVX-512 may have 512 KB.
  static constexpr int64_t kBlockElements = kVectorBytes < 64 ? 1 << 16 : 1 << 17;

  const TapProduct<T> p_;
  const Format format_;
  const TapLayout l_;  // of elements
  const Panels panels_;
  const int64_t depth_, tiles_;
  const Scratch offsets_;
  int64_t *image_offset_, *filter_offset_;
  const S alpha_ = static_cast<S>(p_.alpha);
  bool few_;
  const E* filter_ = nullptr;
};

// Calls method.run() with a filter that is prepared already, or null: then it prepares one for this use.
template <class Method, class E>
bool run_with_filter(Method& method, const E* prepared) {
  if (prepared || method.reads_in_place()) return method.run(prepared);
  Scratch filter(static_cast<size_t>(method.prepared_elements()) * sizeof(E));
  method.prepare(filter.as<E>());
  return method.run(filter.as<E>());
}

}  // namespace
}  // namespace ctorch::CT_ISA
