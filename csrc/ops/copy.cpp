#include "ops/copy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "kernels/table.h"
#include "ops/plan.h"

namespace ctorch::ops {

Tensor copy_(const Tensor& self, const Tensor& src) {
  if (self.is_same(src)) return self;
  Dims strides = expand_strides(src.sizes(), src.strides(), self.sizes(), "copy_");
  if (self.numel() == 0) return self;
  if (self.storage() == src.storage()) {
    if (self.offset() == src.offset() && self.strides() == strides && self.dtype() == src.dtype())
      return self;
    Tensor apart = empty(src.sizes(), src.dtype(), src.device());
    copy_(apart, src);
    return copy_(self, apart);
  }
  check(has_no_overlap(self.sizes(), self.strides()),
        "unsupported operation: more than one element of the written-to tensor refers to a single memory "
        "location. Please clone() the "
        "tensor before performing the operation.");
  copy_elements(self, src, strides);
  return self;
}

namespace {
double largest(DType dtype) {
  switch (dtype) {
    case DType::float16: return 65504;
    case DType::bfloat16: return 0x1.fep127;
    case DType::float32: return std::numeric_limits<float>::max();
    default: return std::numeric_limits<double>::max();
  }
}
}  // namespace

void check_fits(const Scalar& value, DType dtype, const char* op) {
  auto require = [&](bool fits) {
    check(fits, op, ": value ", value, " cannot be converted to type ", dtype, " without overflow");
  };
  require(is_complex(dtype) || !value.is_complex() || value.to_complex().imag() == 0);
  if (is_differentiable(dtype) && !value.is_bool()) {
    auto fits = [limit = largest(is_complex(dtype) ? to_real(dtype) : dtype)](double v) {
      return !std::isfinite(v) || std::abs(v) <= limit;
    };
    require(fits(value.to_complex().real()) && fits(value.to_complex().imag()));
  }
  if (!is_integral(dtype)) return;
  visit_dtype<Integers>(dtype, op, [&]<class T>() {
    double v = value.to_double();
    // 2^63 and 2^64 are doubles; the largest integers below them are not.
    double low = static_cast<double>(std::numeric_limits<T>::lowest()),
           high = static_cast<double>(std::numeric_limits<T>::max());
    bool fits = sizeof(T) == 8 && value.is_integer() ? (std::is_signed_v<T> || value.to_double() >= 0)
                                                     : v >= low && v <= high;
    // Small negative numbers wrap in unsigned dtypes, as in C.
    if (!std::is_signed_v<T> && v < 0) fits = -v <= high;
    require(fits);
  });
}

Tensor fill_(const Tensor& self, const Scalar& value) {
  check_fits(value, self.dtype(), "fill");
  if (self.numel() == 0) return self;
  alignas(16) char element[16];
  store_scalar(element, self.dtype(), value);
  if (!self.is_contiguous() && !is_dense(self.sizes(), self.strides())) {
    Tensor one = scalar_tensor(value, self.dtype(), self.device());
    copy_elements(self, one, Dims(self.dim()));
    return self;
  }
  int64_t item = self.item_size();
  auto fill = cpu_kernels().copy.fill[__builtin_ctzll(static_cast<unsigned long long>(item))];
  // What a second thread is worth waking for.
  constexpr int64_t kGrainBytes = 1 << 19;
  auto body = [&](int64_t begin, int64_t end) { fill(self.data() + begin * item, element, end - begin); };
  if (self.numel() * item <= kGrainBytes)
    body(0, self.numel());
  else
    parallel_for(0, self.numel(), kGrainBytes / item, body);
  return self;
}

Tensor zero_(const Tensor& self) { return fill_(self, Scalar(0)); }

Tensor clone(const Tensor& input) { return copy_(empty_like(input), input); }
Tensor clone_contiguous(const Tensor& input) {
  return copy_(empty(input.sizes(), input.dtype(), input.device()), input);
}
Tensor contiguous(const Tensor& input) { return input.is_contiguous() ? input : clone_contiguous(input); }

Tensor empty_like_in(const Tensor& like, MemoryFormat format, std::optional<DType> dtype) {
  DType dt = dtype.value_or(like.dtype());
  if (format == MemoryFormat::preserve) return empty_like(like, dt);
  if (format == MemoryFormat::contiguous) return empty(like.sizes(), dt, like.device());
  int64_t want = format == MemoryFormat::channels_last ? 4 : 5;
  check(like.dim() == want, "required rank ", want, " tensor to use ",
        want == 4 ? "channels_last" : "channels_last_3d", " format, got shape ", like.sizes());
  return empty_strided(like.sizes(), channels_last_strides(like.sizes()), dt, like.device());
}
Tensor clone_in(const Tensor& input, MemoryFormat format) {
  return copy_(empty_like_in(input, format), input);
}
Tensor contiguous_in(const Tensor& input, MemoryFormat format) {
  check(format != MemoryFormat::preserve,
        "contiguous: preserve memory format is unsupported by the contiguous operator");
  bool already = format == MemoryFormat::contiguous
                     ? input.is_contiguous()
                     : input.strides() == channels_last_strides(input.sizes()) ||
                           is_channels_last(input.sizes(), input.strides());
  return already ? input : clone_in(input, format);
}

Tensor to_dtype(const Tensor& input, DType dtype) {
  return input.dtype() == dtype ? input : copy_(empty_like(input, dtype), input);
}

Tensor resize_(const Tensor& self, IntList sizes) {
  int64_t n = checked_numel(sizes, "resize_"), bytes;
  check(!__builtin_mul_overflow(n + self.offset(), self.item_size(), &bytes), "resize_: the bytes of shape ",
        ShapeText{sizes}, " overflow");
  if (bytes > self.storage()->bytes()) self.storage()->grow(bytes);
  self.impl()->set_geometry(self.offset(), sizes, contiguous_strides(sizes));
  return self;
}

void resize_output(const Tensor& target, IntList sizes, const char*) {
  if (!same(target.sizes(), sizes)) resize_(target, sizes);
}

}  // namespace ctorch::ops
