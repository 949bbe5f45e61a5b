#include "core/tensor.h"

namespace ctorch {
namespace {

int64_t count(const Dims& sizes) {
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  return n;
}

// The lowest and one past the highest element that a geometry touches, in elements from the start of the
// storage.
std::pair<int64_t, int64_t> extent(int64_t offset, const Dims& sizes, const Dims& strides) {
  int64_t low = offset, high = offset;
  for (int64_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) return {0, 0};  // touches nothing, wherever it begins
    int64_t span;
    check(!__builtin_mul_overflow(sizes[i] - 1, strides[i], &span), "as_strided: strides ", strides,
          " of shape ", sizes, " overflow");
    (span < 0 ? low : high) += span;
  }
  return {low, high + 1};
}

void check_within(const Storage& storage, DType dtype, int64_t offset, const Dims& sizes,
                  const Dims& strides) {
  checked_numel(sizes, "as_strided");
  auto [low, high] = extent(offset, sizes, strides);
  int64_t elements = storage.bytes() / item_size(dtype);
  check(low >= 0 && high <= elements, "setStorage: shape ", sizes, ", strides ", strides,
        " and storage offset ", offset, " reach elements [", low, ", ", high,
        "), out of bounds for storage of ", elements, " elements");
}

}  // namespace

TensorImpl::TensorImpl(Ref<Storage> s, DType dt, int64_t off, Dims sz, Dims st)
    : storage(std::move(s)), dtype(dt) {
  set_geometry(off, std::move(sz), std::move(st));
}

TensorImpl::TensorImpl(Ref<Storage> s, DType dt, Dims sz, int64_t n)
    : storage(std::move(s)),
      data(storage->data()),
      numel(n),
      sizes(std::move(sz)),
      dtype(dt),
      contiguous(true) {
  int64_t nd = sizes.size();
  strides.resize(nd);
  int64_t step = 1;
  for (int64_t i = nd - 1; i >= 0; --i) {
    strides[i] = step;
    step *= std::max<int64_t>(sizes[i], 1);
  }
}

TensorImpl::~TensorImpl() = default;

void TensorImpl::set_geometry(int64_t off, Dims sz, Dims st) {
  offset = off;
  sizes = std::move(sz);
  strides = std::move(st);
  numel = count(sizes);
  contiguous = ctorch::is_contiguous(sizes, strides);
  data = storage->data() + offset * item_size(dtype);
}

void TensorImpl::set_storage(Ref<Storage> s) {
  storage = std::move(s);
  data = storage->data() + offset * item_size(dtype);
}

Tensor Tensor::view_as(Dims sizes, Dims strides, int64_t offset) const {
  check_within(*impl_->storage, impl_->dtype, offset, sizes, strides);
  auto view =
      make_ref<TensorImpl>(impl_->storage, impl_->dtype, offset, std::move(sizes), std::move(strides));
  view->counts_writes = impl_->counts_writes;
  return Tensor(std::move(view));
}

Tensor Tensor::alias() const {
  auto view = make_ref<TensorImpl>(impl_->storage, impl_->dtype, impl_->offset, impl_->sizes, impl_->strides);
  view->counts_writes = impl_->counts_writes;
  return Tensor(std::move(view));
}

Tensor empty(IntList sizes, DType dtype, Device device) {
  int64_t n = checked_numel(sizes, "empty"), bytes;
  check(!__builtin_mul_overflow(n, item_size(dtype), &bytes), "empty: the bytes of shape ", ShapeText{sizes},
        " overflow");
  return Tensor(make_ref<TensorImpl>(make_ref<Storage>(bytes, device), dtype, Dims(sizes), n));
}

Tensor empty_strided(IntList sizes, IntList strides, DType dtype, Device device) {
  check(sizes.size() == strides.size(), "empty_strided: expected as many strides as sizes, got ",
        ShapeText{sizes}, " and ", ShapeText{strides});
  checked_numel(sizes, "empty_strided");
  for (int64_t s : strides)
    check(s >= 0, "empty_strided: strides must not be negative, got ", ShapeText{strides});
  Dims sz(sizes), st(strides);
  int64_t bytes;
  check(!__builtin_mul_overflow(extent(0, sz, st).second, item_size(dtype), &bytes),
        "empty_strided: the bytes of shape ", sz, " overflow");
  return Tensor(
      make_ref<TensorImpl>(make_ref<Storage>(bytes, device), dtype, 0, std::move(sz), std::move(st)));
}

Tensor empty_like(const Tensor& like, std::optional<DType> dtype) {
  DType dt = dtype.value_or(like.dtype());
  if (like.is_contiguous()) return empty(like.sizes(), dt, like.device());
  if (is_dense(like.sizes(), like.strides()))
    return empty_strided(like.sizes(), like.strides(), dt, like.device());
  // Keep the order of the dims, without the gaps.
  const Dims &sizes = like.sizes(), &strides = like.strides();
  Dims order;
  for (int64_t i = like.dim() - 1; i >= 0; --i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    if (strides[a] == 0 || strides[b] == 0) return false;
    return std::abs(strides[a]) < std::abs(strides[b]);
  });
  Dims out(like.dim());
  int64_t step = 1;
  for (int64_t i : order) {
    out[i] = step;
    step *= std::max<int64_t>(sizes[i], 1);
  }
  return empty_strided(sizes, out, dt, like.device());
}

Tensor scalar_tensor(const Scalar& value, DType dtype, Device device) {
  Tensor t = empty({}, dtype, device);
  visit_dtype<AllTypes>(dtype, "scalar_tensor", [&]<class T>() { *t.data<T>() = value.to<T>(); });
  return t;
}

Scalar item(const Tensor& t, const char* op) {
  check(t.numel() == 1, op, ": a Tensor with ", t.numel(), " elements cannot be converted to Scalar");
  Scalar out;
  visit_dtype<AllTypes>(t.dtype(), op, [&]<class T>() {
    T v = *t.data<T>();
    if constexpr (std::is_same_v<T, bool>) {
      out = Scalar(reinterpret_cast<const uint8_t&>(v) != 0);
    } else if constexpr (std::is_same_v<T, uint64_t>) {
      out = v >> 63 ? Scalar::from_uint64(v) : Scalar(static_cast<int64_t>(v));
    } else if constexpr (std::is_integral_v<T>) {
      out = Scalar(static_cast<int64_t>(v));
    } else if constexpr (is_complex_v<T>) {
      out = Scalar(std::complex<double>(v.real(), v.imag()));
    } else {
      out = Scalar(static_cast<double>(static_cast<acc_t<T>>(v)));
    }
  });
  return out;
}

std::ostream& operator<<(std::ostream& out, const Tensor& t) {
  return t ? out << t.dtype() << ' ' << t.sizes() : out << "None";
}

}  // namespace ctorch
