#include "ops/copy.h"

#include <cstring>

namespace ctorch::ops {
namespace {

template <class To, class From>
To convert(From v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else if constexpr (is_complex_v<To>) {
    using R = typename To::value_type;
    if constexpr (is_complex_v<From>) {
      return To(static_cast<R>(v.real()), static_cast<R>(v.imag()));
    } else {
      return To(static_cast<R>(static_cast<acc_t<From>>(v)), R(0));
    }
  } else if constexpr (is_complex_v<From>) {
    if constexpr (std::is_same_v<To, bool>) return v.real() != 0 || v.imag() != 0;
    else return convert<To>(v.real());
  } else if constexpr (std::is_same_v<To, bool>) {
    return static_cast<acc_t<From>>(v) != acc_t<From>(0);
  } else if constexpr (is_half_v<To>) {
    return To(static_cast<float>(v));
  } else if constexpr (std::is_integral_v<To> && is_float_v<From>) {
    return static_cast<To>(static_cast<int64_t>(static_cast<acc_t<From>>(v)));
  } else {
    return static_cast<To>(static_cast<acc_t<From>>(v));
  }
}

template <class To, class From>
void copy_loop(To* to, const From* from, const Dims& sizes, const Dims& ts, const Dims& fs) {
  int64_t nd = sizes.size(), inner = nd ? sizes.back() : 1, a = nd ? ts.back() : 0, b = nd ? fs.back() : 0, outer = 1;
  for (int64_t i = 0; i + 1 < nd; ++i) outer *= sizes[i];
  Dims index(nd);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) to[i * a] = convert<To>(from[i * b]);
    for (int64_t d = nd - 2; d >= 0; --d) {
      to += ts[d];
      from += fs[d];
      if (++index[d] < sizes[d]) break;
      to -= sizes[d] * ts[d];
      from -= sizes[d] * fs[d];
      index[d] = 0;
    }
  }
}

}  // namespace

Tensor copy_(const Tensor& self, const Tensor& src) {
  if (self.is_same(src)) return self;
  Dims strides = expand_strides(src.sizes(), src.strides(), self.sizes(), "copy_");
  if (self.numel() == 0) return self;
  if (self.storage() == src.storage()) {
    if (self.offset() == src.offset() && self.strides() == strides && self.dtype() == src.dtype()) return self;
    Tensor apart = empty(src.sizes(), src.dtype(), src.device());
    copy_(apart, src);
    return copy_(self, apart);
  }
  visit_dtype<AllTypes>(self.dtype(), "copy_", [&]<class To>() {
    visit_dtype<AllTypes>(src.dtype(), "copy_", [&]<class From>() {
      copy_loop(self.data<To>(), src.data<From>(), self.sizes(), self.strides(), strides);
    });
  });
  return self;
}

Tensor fill_(const Tensor& self, const Scalar& value) {
  return copy_(self, scalar_tensor(value, self.dtype(), self.device()));
}

Tensor zero_(const Tensor& self) { return fill_(self, Scalar(0)); }

Tensor clone(const Tensor& input) { return copy_(empty_like(input), input); }
Tensor clone_contiguous(const Tensor& input) { return copy_(empty(input.sizes(), input.dtype(), input.device()), input); }
Tensor contiguous(const Tensor& input) { return input.is_contiguous() ? input : clone_contiguous(input); }

Tensor empty_like_in(const Tensor& like, MemoryFormat format, std::optional<DType> dtype) {
  DType dt = dtype.value_or(like.dtype());
  if (format == MemoryFormat::preserve) return empty_like(like, dt);
  if (format == MemoryFormat::contiguous) return empty(like.sizes(), dt, like.device());
  int64_t want = format == MemoryFormat::channels_last ? 4 : 5;
  check(like.dim() == want, "required rank ", want, " tensor to use ", want == 4 ? "channels_last" : "channels_last_3d", " format, got shape ", like.sizes());
  return empty_strided(like.sizes(), channels_last_strides(like.sizes()), dt, like.device());
}
Tensor clone_in(const Tensor& input, MemoryFormat format) { return copy_(empty_like_in(input, format), input); }
Tensor contiguous_in(const Tensor& input, MemoryFormat format) {
  check(format != MemoryFormat::preserve, "contiguous: preserve memory format is unsupported by the contiguous operator");
  bool already = format == MemoryFormat::contiguous ? input.is_contiguous()
                                                    : input.strides() == channels_last_strides(input.sizes()) || is_channels_last(input.sizes(), input.strides());
  return already ? input : clone_in(input, format);
}

Tensor to_dtype(const Tensor& input, DType dtype) {
  return input.dtype() == dtype ? input : copy_(empty_like(input, dtype), input);
}

Tensor resize_(const Tensor& self, IntList sizes) {
  int64_t n = checked_numel(sizes, "resize_"), bytes;
  check(!__builtin_mul_overflow(n + self.offset(), self.item_size(), &bytes), "resize_: the bytes of shape ", ShapeText{sizes}, " overflow");
  if (bytes > self.storage()->bytes()) self.storage()->grow(bytes);
  self.impl()->set_geometry(self.offset(), sizes, contiguous_strides(sizes));
  return self;
}

void resize_output(const Tensor& target, IntList sizes, const char*) {
  if (!same(target.sizes(), sizes)) resize_(target, sizes);
}

}  // namespace ctorch::ops
