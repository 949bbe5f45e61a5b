// Products of float32 and bfloat16 on AMX tiles, which multiply bfloat16 numbers some 15 times as fast as
// other units multiply floats.
//
// A float is split into bfloat16 pieces, high + mid + low, and a product of floats becomes products of
// pieces, summed in float (Henry, Tang, Heinecke, "Leveraging the bfloat16 artificial intelligence datatype
// for higher-precision computations", 2019):
//
//   highest  3 pieces  hl + hm + mm + mh + lh + hh; leaves out at most 2^-24 of |a b|, the rounding error of
//   one
//                      operation on floats, and some 2^-28 as a rule
//   high     2 pieces  hm + hh + mh; leaves out at most 2^-15
//   medium   1 piece   hh; leaves out at most 2^-7
//
// Sums err no more than those of multiply-adds: a tile adds 32 products at a time, and blocks of k
// are summed apart (measured in tests/cpp/test_gemm_amx.cpp). Infinities, NaN and numbers so large that a
// piece or a sum might overflow are found while packing; the slab that has them goes the way of the level
// below. Denormal numbers count as 0, as they do at the other levels (flush_denormals.h).
//
// The tiles are in gemm_tiles.h, splitting and packing in gemm_split.h, the loops in gemm_slabs.h.
#include "kernels/gemm.h"

#include <cmath>

#include "kernels/cpu/amx/gemm_slabs.h"

namespace ctorch::CT_ISA {

bool g_small_floats_too = false;

namespace {

// The kernels of the level below.
GemmTable g_plain;

template <class T>
Product<T, float> matrix(const GemmArgs& g, const BatchOffsets& at) {
  const T* d = static_cast<const T*>(g.d.data);
  return {g.m,
          g.n,
          g.k,
          static_cast<const T*>(g.a.data) + at.a,
          g.a.row,
          g.a.col,
          static_cast<const T*>(g.b.data) + at.b,
          g.b.row,
          g.b.col,
          WriteOut<T, float>{static_cast<T*>(g.c.data) + at.c, g.c.row, g.c.col, d ? d + at.d : nullptr,
                             g.d.row, g.d.col, static_cast<float>(g.alpha.real),
                             static_cast<float>(g.beta.real), g.activation},
          g.prepared};
}

void plain_product(const Product<float, float>& q, double alpha, GemmPrecision precision) {
  GemmArgs g{};
  g.dtype = DType::float32;
  g.m = q.m, g.n = q.n, g.k = q.k;
  g.a.data = q.a, g.a.row = q.a_row, g.a.col = q.a_k;
  g.b.data = q.b, g.b.row = q.b_k, g.b.col = q.b_col;
  g.c.data = q.out.c, g.c.row = q.out.c_row, g.c.col = q.out.c_col;
  g.d.data = q.out.d, g.d.row = q.out.d_row, g.d.col = q.out.d_col;
  g.alpha.real = alpha, g.beta.real = static_cast<double>(q.out.beta);
  g.activation = q.out.activation;
  g.precision = precision;
  g_plain.gemm(g);
}

// Floats where tiles save more than they cost. Rounded to one piece, floats would be packed at the level
// below too, and so are bfloat16 numbers.
bool worth_tiles(const GemmArgs& g, int64_t pieces) {
  if (g.n < kTile || g.k < kStep || (g.m < kTile && !g.always_prepared)) return false;
  if (pieces == 1) return (g.always_prepared ? kTile : g.m) * g.n * g.k >= 32 * 32 * 32;
  if (g_small_floats_too) return (g.always_prepared ? g.n : std::min(g.m, g.n)) > kPanel;
  // What is packed already costs nothing, whatever the rows.
  return cost_of_tiles(g.always_prepared ? 1 : g.m, kPackCost, g.n, g.always_prepared ? 0 : kPackCost, g.k) <
         1;
}

const TileFormat<float>& float_format(GemmPrecision precision) {
  return precision == GemmPrecision::highest ? kHighest : precision == GemmPrecision::high ? kHigh : kMedium;
}

bool takes(const GemmArgs& g) {
  if (g.dtype == DType::bfloat16) return worth_tiles(g, kBFloat16.pieces);
  // The write-out divides alpha by the scale of the sums, which must be exact.
  const auto alpha = static_cast<float>(g.alpha.real);
  const bool divisible = std::fabs(alpha) > 0x1p-125f * kSplitScale * kSplitScale || alpha == 0;
  return g.dtype == DType::float32 && divisible && worth_tiles(g, float_format(g.precision).pieces);
}

void gemm_float32(const GemmArgs& g) {
  if (!takes(g)) return g_plain.gemm(g);
  FlushDenormals flush;
  for_each_matrix(g, [&](const BatchOffsets& at) {
    Product<float, float> q = matrix<float>(g, at);
    put_result_in_rows(q);
    q.out.alpha /= kSplitScale * kSplitScale;
    TileProduct<float, float>(q, float_format(g.precision))
        .run(fit_for_tiles,
             [&](const Product<float, float>& slab) { plain_product(slab, g.alpha.real, g.precision); });
  });
}

template <class O>
void run_bfloat16(const Product<BFloat16, float, O>& q) {
  TileProduct<BFloat16, O>(q, kBFloat16).run([](float, float, int64_t) { return true; }, [](const auto&) {});
}

void gemm_bfloat16(const GemmArgs& g) {
  if (!takes(g)) return g_plain.gemm(g);
  FlushDenormals flush;
  for_each_matrix(g, [&](const BatchOffsets& at) {
    Product<BFloat16, float> q = matrix<BFloat16>(g, at);
    put_result_in_rows(q);
    if (q.k <= kBFloat16.slab_depth) return run_bfloat16(q);
    // Sums of several slabs have no room in a result of bfloat16.
    Scratch buffer(static_cast<size_t>(q.m * q.n) * sizeof(float));
    float* sums = buffer.as<float>();
    run_bfloat16(Product<BFloat16, float, float>{
        q.m, q.n, q.k, q.a, q.a_row, q.a_k, q.b, q.b_k, q.b_col,
        WriteOut<float, float>{sums, q.n, 1, nullptr, 0, 0, 1, 0, GemmActivation::none}, q.b_panels});
    parallel_for(0, q.m, 1 + 32768 / q.n, [&](int64_t from, int64_t to) {
      write_tile(q.out, from, 0, to - from, q.n, sums + from * q.n, q.n);
    });
  });
}

// Matrices that would go on tiles if they were one are left to the convolution that asks.
bool joins(const GemmArgs& g) { return !takes(JoinedColumns(g).product()) && g_plain.joins(g); }
// Calls visit(product) with the tile product of the first matrix.
template <class Visit>
auto with_product(const GemmArgs& g, Visit&& visit) {
  if (g.dtype == DType::bfloat16)
    return visit(TileProduct<BFloat16, BFloat16>(matrix<BFloat16>(g, {}), kBFloat16));
  return visit(TileProduct<float, float>(matrix<float>(g, {}), float_format(g.precision)));
}
int64_t prepared_bytes(const GemmArgs& g) {
  if (!takes(g)) return g_plain.prepared_bytes(g);
  // A result in columns is that of the transposed product, with its pieces summed in another order: once b is
  // kept it would have other bits than before.
  const bool in_columns = g.c.col != 1 && g.c.row == 1;
  if (in_columns || !is_worth_preparing(g)) return 0;
  return with_product(g, [](auto product) { return product.prepared_bytes(); });
}
void prepare(const GemmArgs& g, void* to) {
  if (!takes(g)) return g_plain.prepare(g, to);
  with_product(g, [&](auto product) { product.prepare(to); });
}

}  // namespace

void put_small_floats_on_tiles(bool all) { g_small_floats_too = all; }

void fill_gemm(GemmTable& table) {
  g_plain = table;
  table.of[static_cast<int>(DType::bfloat16)] = gemm_bfloat16;
  table.of[static_cast<int>(DType::float32)] = gemm_float32;
  table.joins = joins;
  table.prepared_bytes = prepared_bytes;
  table.prepare = prepare;
}

}  // namespace ctorch::CT_ISA
