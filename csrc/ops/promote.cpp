#include "ops/promote.h"

namespace ctorch::ops {
namespace {

int category(DType dt) { return is_bool(dt) ? 0 : is_integral(dt) ? 1 : is_floating(dt) ? 2 : 3; }

// `higher` decides unless `lower` is of a higher category: then the two are promoted.
std::optional<DType> combine(std::optional<DType> higher, std::optional<DType> lower) {
  if (!higher) return lower;
  if (!lower) return higher;
  return category(*lower) > category(*higher) ? promote_types(*higher, *lower) : *higher;
}

}  // namespace

DType Promotion::result() const { return *combine(dims_, combine(zeros_, numbers_)); }

DType result_type(const Operand& a, const Operand& b) {
  if (a.is_tensor() && b.is_tensor() && a.tensor().dtype() == b.tensor().dtype()) return a.tensor().dtype();
  Promotion p;
  p.add(a);
  p.add(b);
  return p.result();
}

DType result_type(TensorList tensors) {
  Promotion p;
  for (const Tensor& t : tensors) p.add(t);
  return p.result();
}

}  // namespace ctorch::ops
