// Boolean masks: counting, and packing or unpacking the elements they choose. The layout of the blocks:
// kernels/index.h.
#include <string.h>

#include "kernels/cpu/index_loops.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kBlockGrain = 8;  // blocks per piece of work

CT_INLINE int64_t block_end(int64_t b, int64_t n) {
  return (b + 1) * kMaskBlock < n ? (b + 1) * kMaskBlock : n;
}

int64_t count_mask(const uint8_t* mask, int64_t n, int64_t* starts) {
  const int64_t blocks = mask_blocks(n);
  parallel_for(0, blocks, 4 * kBlockGrain, [&](int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) {
      int32_t count = 0;
      const int64_t end = block_end(b, n);
      for (int64_t i = b * kMaskBlock; i < end; ++i) count += mask[i] != 0;
      starts[b] = count;
    }
  });
  int64_t total = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t count = starts[b];
    starts[b] = total;
    total += count;
  }
  return total;
}

// Positions within its block, in order, of the true elements of block b; the number of them. Without a
// branch, as those of a random mask are mispredicted half of the time: every position is written, and the
// next one overwrites it unless it was true.
CT_INLINE int64_t true_positions(const uint8_t* mask, int64_t b, int64_t n, uint16_t* at) {
  const uint8_t* m = mask + b * kMaskBlock;
  const int64_t size = block_end(b, n) - b * kMaskBlock;
  int64_t k = 0, i = 0;
  for (; i + 8 <= size; i += 8) {
    uint64_t word;
    memcpy(&word, m + i, 8);
    if (word == 0) continue;
    for (int64_t j = 0; j < 8; ++j) {
      at[k] = static_cast<uint16_t>(i + j);
      k += m[i + j] != 0;
    }
  }
  for (; i < size; ++i) {
    at[k] = static_cast<uint16_t>(i);
    k += m[i] != 0;
  }
  return k;
}

template <class Body>
CT_INLINE void for_each_block(const uint8_t* mask, int64_t n, const int64_t* starts, const Body& body) {
  parallel_for(0, mask_blocks(n), kBlockGrain, [&](int64_t from, int64_t to) {
    uint16_t at[kMaskBlock + 1];
    for (int64_t b = from; b < to; ++b) {
      int64_t count = true_positions(mask, b, n, at);
      body(b * kMaskBlock, starts[b], count, at);
    }
  });
}

template <class T>
void masked_select(const void* in, const uint8_t* mask, int64_t n, const int64_t* starts, void* out) {
  for_each_block(mask, n, starts, [&](int64_t base, int64_t start, int64_t count, const uint16_t* at) {
    const T* CT_RESTRICT from = static_cast<const T*>(in) + base;
    T* CT_RESTRICT to = static_cast<T*>(out) + start;
    for (int64_t k = 0; k < count; ++k) to[k] = from[at[k]];
  });
}

template <class T>
void masked_scatter(void* out, const uint8_t* mask, int64_t n, const int64_t* starts, const void* in) {
  for_each_block(mask, n, starts, [&](int64_t base, int64_t start, int64_t count, const uint16_t* at) {
    const T* CT_RESTRICT from = static_cast<const T*>(in) + start;
    T* CT_RESTRICT to = static_cast<T*>(out) + base;
    for (int64_t k = 0; k < count; ++k) to[at[k]] = from[k];
  });
}

void nonzero(const uint8_t* mask, int64_t n, const int64_t* starts, int64_t ndim, const int64_t* sizes,
             int64_t* out, int64_t n_true) {
  for_each_block(mask, n, starts, [&](int64_t base, int64_t start, int64_t count, const uint16_t* at) {
    if (ndim == 0 || count == 0) return;
    int64_t flat[kMaskBlock];
    for (int64_t k = 0; k < count; ++k) flat[k] = base + at[k];
    for (int64_t d = ndim - 1; d > 0; --d) {
      int64_t* coordinate = out + d * n_true + start;
      const int64_t size = sizes[d];
      if ((size & (size - 1)) == 0) {
        const int shift = __builtin_ctzll(static_cast<uint64_t>(size));
        for (int64_t k = 0; k < count; ++k) {
          coordinate[k] = flat[k] & (size - 1);
          flat[k] >>= shift;
        }
      } else {
        // Neighbours mostly share their row: divide once per row.
        int64_t row = -1, first = 0, next = 0;
        for (int64_t k = 0; k < count; ++k) {
          if (flat[k] >= next || row < 0) {
            row = flat[k] / size;
            first = row * size;
            next = first + size;
          }
          coordinate[k] = flat[k] - first;
          flat[k] = row;
        }
      }
    }
    memcpy(out + start, flat, static_cast<size_t>(count) * sizeof(int64_t));
  });
}

template <class... Ts>
CT_INLINE void fill_moves(IndexTable& t, TypeList<Ts...>) {
  int i = 0;
  ((t.masked_select[i] = masked_select<Ts>, t.masked_scatter[i] = masked_scatter<Ts>, ++i), ...);
}

}  // namespace

void fill_mask(IndexTable& table) {
  table.count_mask = count_mask;
  table.nonzero = nonzero;
  fill_moves(table, MoveList{});
}

}  // namespace ctorch::CT_ISA
