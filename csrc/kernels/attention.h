// Scaled dot-product attention: out = softmax(scale query key^T + mask) value, and its gradients, in blocks:
// the matrix of queries by keys is never whole in memory (Dao et al., "FlashAttention", 2022).
#pragma once

#include <cstdint>

#include "core/half.h"
#include "kernels/gemm.h"

namespace ctorch {

// Rows of contiguous elements: row i of head h of batch b at data + (b * batch + h * head + i * row)
// elements.
template <class Pointer>
struct AttentionRows {
  Pointer data = nullptr;
  int64_t batch = 0, head = 0, row = 0;
};

enum class AttentionMask : int8_t {
  none,
  taken,  // bytes of bool: whether a query sees a key
  added,  // numbers of the dtype, added to the scores
};

// Products of bfloat16 by instructions that sum pairs of neighbours in k, which attention over bfloat16 rests
// on. They take `step` numbers along k and `rows` rows of the left side at a time; what is missing is filled
// up with zeros.
struct PairProducts {
  // One side holds rows of numbers that are contiguous along k; the other pairs of two neighbours in k in 32
  // bits, which lie side by side in panels of so many columns.
  static constexpr int64_t cols = 32;
  int64_t step, rows;
  // c (m, n) = a b, added to c where asked: row i of a at a + i * a_row, pairs p of columns j at
  // b + j / cols * b_panel + p * b_row + j % cols, row i of c at c + i * c_row.
  void (*multiply)(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t a_row, const uint32_t* b,
                   int64_t b_row, int64_t b_panel, float* c, int64_t c_row, bool add);
  // A thread calls these before and after its products.
  void (*begin)();
  void (*end)();
};

// float32, float64, and bfloat16 where there are products of pairs, without dropout: then highest, log_sum
// and an added mask are of float32, the others of bfloat16, and key_t and value_t not needed. Query head h
// reads head h / group of the keys. All strides in elements.
struct AttentionArgs {
  DType dtype;
  int64_t batch, heads, group;
  int64_t queries, keys, width, value_width;
  double scale;
  // Whether query i sees the keys up to i + first_query alone.
  bool causal = false;
  int64_t first_query = 0;
  AttentionRows<const void*> query, key, value;  // (queries, width), (keys, width), (keys, value_width)
  // Transposed, (width, keys) and (value_width, keys), or null where it is not worth it.
  AttentionRows<const void*> key_t, value_t;
  AttentionMask mask_kind = AttentionMask::none;
  const void* mask = nullptr;
  int64_t mask_strides[4] = {};  // batch, head, query, key
  // Dropout, for one head of one batch: weights whose byte in (queries, keys) is 0 are left out, the others
  // scaled. Whether there is any is said before.
  bool dropout = false;
  const uint8_t* kept = nullptr;
  double kept_scale = 1;
  // highest, log_sum: (batch, heads, queries), the highest score and the logarithm of the sum of a row's
  // weights with respect to it, to the base 2; 0 and +inf for a row that sees no key, whose result is 0.
  AttentionRows<void*> out;
  void *highest, *log_sum;
  // Backward only. The gradients of key and value are added to what is there; those of bfloat16 are written.
  AttentionRows<const void*> grad_out;
  AttentionRows<void*> grad_query, grad_key, grad_value;
  GemmFn gemm;
  const PairProducts* pairs = nullptr;
};

struct AttentionTable {
  void (*forward)(const AttentionArgs&);
  void (*backward)(const AttentionArgs&);
  // Whether it reads key_t and value_t, of which the arguments need not tell yet.
  bool (*reads_transposed)(const AttentionArgs&);
  const PairProducts* pairs;  // or null
};

}  // namespace ctorch
