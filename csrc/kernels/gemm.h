// Matrix products: c = act(alpha * a b + beta * d), in batches.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/macros.h"

namespace ctorch {

inline constexpr int kMaxGemmBatchDims = 4;

enum class GemmActivation : int8_t { none, relu };

// How exact a product of float32 has to be: as one of float32; or as if its operands had first been rounded
// to a sum of two bfloat16 numbers (high), to one (medium). A level may do better than it is asked to.
enum class GemmPrecision : int8_t { highest, high, medium };

// alpha and beta, in the form that the dtype needs.
struct GemmFactor {
  double real = 1, imag = 0;
  int64_t integer = 1;
};

// Where the matrices of one operand lie: element [i, j] of matrix [b0, b1, ...] at
// data[b0 * batch[0] + ... + i * row + j * col], strides in elements, of any sign, 0 included.
template <class Pointer>
struct GemmOperand {
  Pointer data = nullptr;
  int64_t row = 0, col = 0;
  int64_t batch[kMaxGemmBatchDims] = {};
};

// a is (m, k), b is (k, n), c and the addend d are (m, n), all of one dtype. c overlaps no other operand,
// except that d may be c itself, element for element. d.data == nullptr means beta == 0. Half types
// accumulate in float, integers wrap.
struct GemmArgs {
  DType dtype;
  int64_t m, n, k;
  GemmOperand<const void*> a{}, b{}, d{};
  GemmOperand<void*> c{};
  int batch_dims = 0;
  int64_t batch_size[kMaxGemmBatchDims] = {};
  bool conj_a = false;  // complex dtypes: the conjugate of a
  GemmFactor alpha{}, beta{};
  GemmActivation activation = GemmActivation::none;
  GemmPrecision precision = GemmPrecision::highest;  // float32 alone
  // b as GemmTable::prepare() has written it, or null.
  const void* prepared = nullptr;
  // b comes prepared in every call, of any m: neither its form nor the choice of a kernel depends on m then,
  // and a row of the result has the same bits among any others.
  bool always_prepared = false;
};

using GemmFn = void (*)(const GemmArgs&);

struct GemmTable {
  GemmFn of[kNumDTypes];
  CT_INLINE void gemm(const GemmArgs& g) const { of[static_cast<int>(g.dtype)](g); }
  // Whether matrices of a batch with the same a are multiplied as one, which brings a into a form of its own
  // once.
  bool (*joins)(const GemmArgs&);
  // A product with the same b for all of its batch brings b into a form of its own, of so many bytes (0: it
  // reads b as it is, or the form is not worth keeping); it depends on b and the dtype alone. A b that is
  // used again can be kept so; b itself is read too, for few rows and for numbers that do not fit its form.
  int64_t (*prepared_bytes)(const GemmArgs&);
  void (*prepare)(const GemmArgs&, void* to);
};

}  // namespace ctorch
