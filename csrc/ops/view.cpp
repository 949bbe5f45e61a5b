#include "ops/view.h"

#include "ops/copy.h"

namespace ctorch::ops {
namespace {

// A view known to lie within input's storage.
Tensor restride(const Tensor& input, Dims sizes, Dims strides, int64_t offset) {
  auto impl =
      make_ref<TensorImpl>(input.storage(), input.dtype(), offset, std::move(sizes), std::move(strides));
  impl->counts_writes = input.impl()->counts_writes;
  return Tensor(std::move(impl));
}

Tensor restride_as(const Tensor& input, DType dtype, Dims sizes, Dims strides, int64_t offset) {
  auto impl = make_ref<TensorImpl>(input.storage(), dtype, offset, std::move(sizes), std::move(strides));
  impl->counts_writes = input.impl()->counts_writes;
  return Tensor(std::move(impl));
}

Tensor zeros(IntList sizes, const Tensor& like) {
  Tensor out = empty(sizes, like.dtype(), like.device());
  zero_(out);
  return out;
}

}  // namespace

Tensor view(const Tensor& input, IntList size) {
  Dims shape = infer_shape(size, input.numel(), "view");
  std::optional<Dims> strides = view_strides(input.sizes(), input.strides(), shape);
  check(strides.has_value(),
        "view: view size is not compatible with input tensor's size and stride (at least one dimension spans "
        "across "
        "two contiguous subspaces). Use .reshape(...) instead. Got shape ",
        input.sizes(), ", strides ", input.strides(), ", size ", shape);
  return restride(input, std::move(shape), std::move(*strides), input.offset());
}

Tensor view_dtype(const Tensor& input, DType dtype) {
  int64_t from = input.item_size(), to = item_size(dtype);
  Dims sizes = input.sizes(), strides = input.strides();
  if (from == to) return restride_as(input, dtype, sizes, strides, input.offset());
  check(input.dim() > 0, "view: self.dim() cannot be 0 to view ", input.dtype(), " as ", dtype,
        " (different element sizes)");
  check(strides.back() == 1 || sizes.back() == 1, "view: self.stride(-1) must be 1 to view ", input.dtype(),
        " as ", dtype, " (different element sizes), got ", strides.back());
  int64_t offset = input.offset();
  if (from > to) {
    int64_t ratio = from / to;
    for (int64_t i = 0; i + 1 < strides.size(); ++i) strides[i] *= ratio;
    sizes.back() *= ratio;
    strides.back() = 1;
    return restride_as(input, dtype, sizes, strides, offset * ratio);
  }
  int64_t ratio = to / from;
  check(sizes.back() % ratio == 0, "view: self.size(-1) must be divisible by ", ratio, " to view ",
        input.dtype(), " as ", dtype, " (different element sizes), but got ", sizes.back());
  check(offset % ratio == 0, "view: self.storage_offset() must be divisible by ", ratio, " to view ",
        input.dtype(), " as ", dtype, ", but got ", offset);
  for (int64_t i = 0; i + 1 < strides.size(); ++i) {
    check(strides[i] % ratio == 0, "view: self.stride(", i, ") must be divisible by ", ratio, " to view ",
          input.dtype(), " as ", dtype, ", but got ", strides[i]);
    strides[i] /= ratio;
  }
  sizes.back() /= ratio;
  strides.back() = 1;
  return restride_as(input, dtype, sizes, strides, offset / ratio);
}

Tensor reshape(const Tensor& input, IntList shape) {
  Dims to = infer_shape(shape, input.numel(), "reshape");
  if (auto strides = view_strides(input.sizes(), input.strides(), to))
    return restride(input, std::move(to), std::move(*strides), input.offset());
  Tensor copy = contiguous(input);
  if (copy.is_same(input)) copy = copy.alias();
  copy.impl()->set_geometry(copy.offset(), to, contiguous_strides(to));
  return copy;
}

Tensor transpose(const Tensor& input, int64_t dim0, int64_t dim1) {
  int64_t a = wrap_dim(dim0, input.dim(), "transpose"), b = wrap_dim(dim1, input.dim(), "transpose");
  Dims sizes = input.sizes(), strides = input.strides();
  if (a != b) {
    std::swap(sizes[a], sizes[b]);
    std::swap(strides[a], strides[b]);
  }
  return restride(input, std::move(sizes), std::move(strides), input.offset());
}

Tensor permute(const Tensor& input, IntList dims) {
  int64_t n = input.dim();
  check(static_cast<int64_t>(dims.size()) == n,
        "permute: number of dimensions in the tensor input does not match the length of the desired "
        "ordering of dimensions i.e. input.dim() = ",
        n, " is not equal to len(dims) = ", dims.size());
  Dims order = wrap_dims(dims, n, "permute", false), sizes(n), strides(n);
  for (int64_t i = 0; i < n; ++i) {
    sizes[i] = input.sizes()[order[i]];
    strides[i] = input.strides()[order[i]];
  }
  return restride(input, std::move(sizes), std::move(strides), input.offset());
}

Tensor t(const Tensor& input) {
  check(input.dim() <= 2, "t() expects a tensor with <= 2 dimensions, but self is ", input.dim(), "D");
  return input.dim() < 2 ? input.alias() : transpose(input, 0, 1);
}

Tensor numpy_T(const Tensor& input) {
  Dims order;
  for (int64_t i = input.dim() - 1; i >= 0; --i) order.push_back(i);
  return permute(input, order);
}

Tensor matrix_T(const Tensor& input) {
  check(input.dim() >= 2, "tensor.mT is only supported on matrices or batches of matrices. Got ", input.dim(),
        "-D tensor.");
  return transpose(input, -2, -1);
}

Tensor movedim(const Tensor& input, IntList source, IntList destination) {
  check(source.size() == destination.size(), "movedim: Invalid source or destination dims: source (",
        ShapeText{source}, " dims) should contain the same number of dims as destination (",
        ShapeText{destination}, " dims)");
  int64_t n = input.dim();
  if (n == 0) {
    wrap_dims(source, n, "movedim", false);
    return input.alias();
  }
  Dims from = wrap_dims(source, n, "movedim", false), to = wrap_dims(destination, n, "movedim", false),
       order(n, -1);
  for (int64_t i = 0; i < from.size(); ++i) order[to[i]] = from[i];
  int64_t next = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (order[i] >= 0) continue;
    while (std::find(from.begin(), from.end(), next) != from.end()) ++next;
    order[i] = next++;
  }
  return permute(input, order);
}

Tensor expand(const Tensor& input, IntList size) {
  int64_t n = static_cast<int64_t>(size.size()), lead = n - input.dim();
  check(lead >= 0, "expand: the number of sizes provided (", n,
        ") must be greater or equal to the number of dimensions in the tensor (", input.dim(), ")");
  Dims to(size);
  for (int64_t i = 0; i < n; ++i) {
    if (to[i] == -1) {
      check(
          i >= lead,
          "expand: The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension ",
          i);
      to[i] = input.sizes()[i - lead];
    }
    check(to[i] >= 0, "expand: negative size ", to[i], " in ", ShapeText{size});
  }
  checked_numel(to, "expand");
  Dims strides(n);
  for (int64_t i = n - 1; i >= 0; --i) {
    if (i < lead) {
      strides[i] = i + 1 < n ? to[i + 1] * strides[i + 1] : 1;
    } else {
      strides[i] = input.strides()[i - lead];
      if (input.sizes()[i - lead] == to[i]) continue;
      check(input.sizes()[i - lead] == 1, "expand: The expanded size of the tensor (", to[i],
            ") must match the existing size (", input.sizes()[i - lead], ") at non-singleton dimension ", i,
            ".  Target sizes: ", to, ".  Tensor sizes: ", input.sizes());
      strides[i] = 0;
    }
    if (i < lead && to[i] != 1) strides[i] = 0;
  }
  return restride(input, std::move(to), std::move(strides), input.offset());
}

Tensor squeeze(const Tensor& input) {
  Dims sizes, strides;
  for (int64_t i = 0; i < input.dim(); ++i) {
    if (input.sizes()[i] == 1) continue;
    sizes.push_back(input.sizes()[i]);
    strides.push_back(input.strides()[i]);
  }
  return restride(input, std::move(sizes), std::move(strides), input.offset());
}

Tensor squeeze_dims(const Tensor& input, IntList dims) {
  Dims drop = wrap_dims(dims, input.dim(), "squeeze", false), sizes, strides;
  for (int64_t i = 0; i < input.dim(); ++i) {
    if (input.sizes()[i] == 1 && std::find(drop.begin(), drop.end(), i) != drop.end()) continue;
    sizes.push_back(input.sizes()[i]);
    strides.push_back(input.strides()[i]);
  }
  return restride(input, std::move(sizes), std::move(strides), input.offset());
}

Tensor unsqueeze(const Tensor& input, int64_t dim) {
  int64_t d = wrap_dim(dim, input.dim() + 1, "unsqueeze");
  Dims sizes = input.sizes(), strides = input.strides();
  strides.insert(d, d < input.dim() ? sizes[d] * strides[d] : 1);
  sizes.insert(d, 1);
  return restride(input, std::move(sizes), std::move(strides), input.offset());
}

Tensor narrow(const Tensor& input, int64_t dim, int64_t start, int64_t length) {
  check(input.dim() > 0, "narrow() cannot be applied to a 0-dim tensor.");
  check(length >= 0, "narrow(): length must be non-negative, got ", length);
  int64_t d = wrap_dim(dim, input.dim(), "narrow"), n = input.sizes()[d];
  check_index(start >= -n && start <= n, "narrow: start out of range (expected to be in range of [", -n, ", ",
              n, "], but got ", start, ")");
  if (start < 0) start += n;
  check(start <= n - length, "narrow: start (", start, ") + length (", length, ") exceeds dimension size (",
        n, ").");
  Dims sizes = input.sizes();
  sizes[d] = length;
  return restride(input, std::move(sizes), input.strides(), input.offset() + start * input.strides()[d]);
}

Tensor select(const Tensor& input, int64_t dim, int64_t index) {
  check_index(input.dim() > 0, "select() cannot be applied to a 0-dim tensor.");
  int64_t d = wrap_dim(dim, input.dim(), "select"), n = input.sizes()[d];
  check_index(index >= -n && index < n, "select(): index ", index, " out of range for tensor of size ",
              input.sizes(), " at dimension ", d);
  if (index < 0) index += n;
  Dims sizes = input.sizes(), strides = input.strides();
  int64_t offset = input.offset() + index * strides[d];
  sizes.erase(d);
  strides.erase(d);
  return restride(input, std::move(sizes), std::move(strides), offset);
}

Tensor slice(const Tensor& input, int64_t dim, std::optional<int64_t> start, std::optional<int64_t> stop,
             int64_t step) {
  check(input.dim() > 0, "slice() cannot be applied to a 0-dim tensor.");
  check_value(step != 0, "slice step cannot be zero");
  int64_t d = wrap_dim(dim, input.dim(), "slice"), n = input.sizes()[d];
  int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
  auto clip = [&](int64_t i) { return std::clamp(i < 0 ? i + n : i, low, high); };
  int64_t from = start ? clip(*start) : step < 0 ? high : low;
  int64_t to = stop ? clip(*stop) : step < 0 ? low : high;
  int64_t length =
      step > 0 ? (to > from ? (to - from - 1) / step + 1 : 0) : (from > to ? (from - to - 1) / -step + 1 : 0);
  Dims sizes = input.sizes(), strides = input.strides();
  int64_t offset = input.offset() + (length > 0 || step > 0 ? from * strides[d] : 0);
  sizes[d] = length;
  strides[d] *= step;
  return restride(input, std::move(sizes), std::move(strides), offset);
}

std::vector<Tensor> split(const Tensor& input, int64_t split_size, int64_t dim) {
  check(input.dim() > 0, "split expects at least a 1-dimensional tensor");
  check(split_size >= 0, "split expects split_size be non-negative, but got split_size=", split_size);
  int64_t d = wrap_dim(dim, input.dim(), "split"), n = input.sizes()[d];
  check(split_size > 0 || n == 0,
        "split_size can only be 0 if dimension size is 0, but got dimension size of ", n);
  int64_t parts = split_size == 0 ? 1 : std::max<int64_t>((n + split_size - 1) / split_size, 1);
  std::vector<Tensor> out;
  for (int64_t i = 0; i < parts; ++i)
    out.push_back(narrow(input, d, i * split_size, std::min(split_size, n - i * split_size)));
  return out;
}

std::vector<Tensor> split_with_sizes(const Tensor& input, IntList split_sizes, int64_t dim) {
  check(input.dim() > 0, "split_with_sizes expects at least a 1-dimensional tensor");
  int64_t d = wrap_dim(dim, input.dim(), "split_with_sizes"), at = 0;
  for (int64_t s : split_sizes) {
    check(s >= 0, "split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes=",
          ShapeText{split_sizes});
    at += s;
  }
  check(at == input.sizes()[d], "split_with_sizes expects split_sizes to sum exactly to ", input.sizes()[d],
        " (input tensor's size at dimension ", d, "), but got split_sizes=", ShapeText{split_sizes});
  std::vector<Tensor> out;
  at = 0;
  for (int64_t s : split_sizes) {
    out.push_back(narrow(input, d, at, s));
    at += s;
  }
  return out;
}

std::vector<Tensor> chunk(const Tensor& input, int64_t chunks, int64_t dim) {
  check(input.dim() > 0, "chunk expects at least a 1-dimensional tensor");
  check(chunks > 0, "chunk expects `chunks` to be greater than 0, got: ", chunks);
  int64_t d = wrap_dim(dim, input.dim(), "chunk"), n = input.sizes()[d];
  int64_t size = (n + chunks - 1) / chunks;
  if (size == 0) return split_with_sizes(input, Dims(chunks, 0), d);
  return split(input, size, d);
}

std::vector<Tensor> tensor_split(const Tensor& input, int64_t sections, int64_t dim) {
  check(input.dim() > 0,
        "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims");
  check(sections > 0, "number of sections must be larger than 0, got ", sections);
  int64_t d = wrap_dim(dim, input.dim(), "tensor_split"), n = input.sizes()[d], at = 0;
  std::vector<Tensor> out;
  for (int64_t i = 0; i < sections; ++i) {
    int64_t length = n / sections + (i < n % sections ? 1 : 0);
    out.push_back(narrow(input, d, at, length));
    at += length;
  }
  return out;
}

std::vector<Tensor> tensor_split_at(const Tensor& input, IntList indices, int64_t dim) {
  check(input.dim() > 0,
        "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims");
  int64_t d = wrap_dim(dim, input.dim(), "tensor_split"), at = 0;
  std::vector<Tensor> out;
  for (int64_t end : indices) {
    out.push_back(slice(input, d, at, end, 1));
    at = end;
  }
  out.push_back(slice(input, d, at, std::nullopt, 1));
  return out;
}

std::vector<Tensor> unbind(const Tensor& input, int64_t dim) {
  check_index(input.dim() > 0, "unbind: Dimension specified as ", dim, " but tensor has no dimensions");
  int64_t d = wrap_dim(dim, input.dim(), "unbind");
  std::vector<Tensor> out;
  out.reserve(static_cast<size_t>(input.sizes()[d]));
  for (int64_t i = 0; i < input.sizes()[d]; ++i) out.push_back(select(input, d, i));
  return out;
}

Tensor diagonal(const Tensor& input, int64_t offset, int64_t dim1, int64_t dim2) {
  int64_t n = input.dim(), a = wrap_dim(dim1, n, "diagonal"), b = wrap_dim(dim2, n, "diagonal");
  check(a != b, "diagonal dimensions cannot be identical ", dim1, ", ", dim2);
  Dims sizes = input.sizes(), strides = input.strides();
  int64_t rows = sizes[a], cols = sizes[b], start = input.offset();
  int64_t length =
      std::max<int64_t>(offset >= 0 ? std::min(rows, cols - offset) : std::min(rows + offset, cols), 0);
  if (length > 0) start += offset >= 0 ? offset * strides[b] : -offset * strides[a];
  int64_t step = strides[a] + strides[b];
  for (int64_t d : {std::max(a, b), std::min(a, b)}) {
    sizes.erase(d);
    strides.erase(d);
  }
  sizes.push_back(length);
  strides.push_back(step);
  return restride(input, std::move(sizes), std::move(strides), start);
}

Tensor unfold(const Tensor& input, int64_t dim, int64_t size, int64_t step) {
  int64_t d = wrap_dim(dim, input.dim(), "unfold");
  int64_t n = input.dim() ? input.sizes()[d] : 1, stride = input.dim() ? input.strides()[d] : 1;
  check(size >= 0, "unfold: size is ", size, " but must be >= 0");
  check(size <= n, "unfold: maximum size for tensor at dimension ", d, " is ", n, " but size is ", size);
  check(step > 0, "unfold: step is ", step, " but must be > 0");
  Dims sizes = input.sizes(), strides = input.strides();
  if (input.dim()) {
    sizes[d] = (n - size) / step + 1;
    strides[d] = stride * step;
  }
  sizes.push_back(size);
  strides.push_back(stride);
  return restride(input, std::move(sizes), std::move(strides), input.offset());
}

Tensor as_strided(const Tensor& input, IntList size, IntList stride, std::optional<int64_t> storage_offset) {
  check(size.size() == stride.size(), "as_strided: mismatch in length of strides and shape: got ",
        ShapeText{size}, " and ", ShapeText{stride});
  for (int64_t s : size) check(s >= 0, "as_strided: negative size ", s, " in ", ShapeText{size});
  int64_t offset = storage_offset.value_or(input.offset());
  check(offset >= 0, "as_strided: storage offset must not be negative, got ", offset);
  return input.view_as(size, stride, offset);
}

Tensor flatten(const Tensor& input, int64_t start_dim, int64_t end_dim) {
  int64_t n = input.dim(), a = wrap_dim(start_dim, n, "flatten"), b = wrap_dim(end_dim, n, "flatten");
  check(a <= b, "flatten() has invalid args: start_dim cannot come after end_dim, got ", start_dim, " and ",
        end_dim);
  if (n == 0) return reshape(input, Dims{1});
  if (a == b) return input;
  Dims shape;
  int64_t joined = 1;
  for (int64_t i = 0; i < n; ++i) {
    if (i < a || i > b) {
      shape.push_back(input.sizes()[i]);
    } else {
      joined *= input.sizes()[i];
      if (i == b) shape.push_back(joined);
    }
  }
  return reshape(input, shape);
}

Tensor unflatten(const Tensor& input, int64_t dim, IntList sizes) {
  int64_t d = wrap_dim(dim, input.dim(), "unflatten");
  check(!sizes.empty(), "unflatten: sizes must be non-empty");
  check(input.dim() > 0, "unflatten: cannot unflatten a 0-dim tensor");
  int64_t n = input.sizes()[d], known = 1, unknown = -1;
  Dims parts(sizes);
  for (int64_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == -1) {
      check(unknown < 0, "unflatten: only one dimension can be inferred, got ", ShapeText{sizes});
      unknown = i;
    } else {
      known *= parts[i];
    }
  }
  if (unknown >= 0 && known > 0 && n % known == 0) parts[unknown] = n / known, known = n;
  check(known == n, "unflatten: Provided sizes ", ShapeText{sizes}, " don't multiply up to the size of dim ",
        d, " (", n, ") in the input tensor");
  Dims shape;
  for (int64_t i = 0; i < input.dim(); ++i) {
    if (i == d) {
      for (int64_t p : parts) shape.push_back(p);
    } else {
      shape.push_back(input.sizes()[i]);
    }
  }
  return view(input, shape);
}

Tensor view_as_real(const Tensor& input) {
  check(is_complex(input.dtype()), "view_as_real is only supported for complex tensors, got ", input.dtype());
  Dims sizes = input.sizes(), strides = input.strides();
  for (int64_t& s : strides) s *= 2;
  sizes.push_back(2);
  strides.push_back(1);
  return restride_as(input, to_real(input.dtype()), sizes, strides, input.offset() * 2);
}

Tensor view_as_complex(const Tensor& input) {
  DType dt = input.dtype();
  check(dt == DType::float32 || dt == DType::float64,
        "view_as_complex is only supported for floating point tensors of float32 and float64, got ", dt);
  check(input.dim() > 0, "view_as_complex: Input tensor must have one or more dimensions");
  check(input.sizes().back() == 2, "view_as_complex: Tensor must have a last dimension of size 2, got ",
        input.sizes());
  check(input.strides().back() == 1, "view_as_complex: Tensor must have a last dimension with stride 1, got ",
        input.strides());
  check(input.offset() % 2 == 0, "view_as_complex: Tensor must have a storage_offset divisible by 2, got ",
        input.offset());
  Dims sizes = input.sizes(), strides = input.strides();
  sizes.pop_back();
  strides.pop_back();
  for (int64_t& s : strides) {
    check(s % 2 == 0,
          "view_as_complex: Tensor must have a stride divisible by 2 for all but last dimension, got ",
          input.strides());
    s /= 2;
  }
  return restride_as(input, to_complex(dt), sizes, strides, input.offset() / 2);
}

Tensor real(const Tensor& input) {
  return is_complex(input.dtype()) ? select(view_as_real(input), -1, 0) : input;
}

Tensor imag(const Tensor& input) {
  check(is_complex(input.dtype()), "imag is not implemented for tensors with non-complex dtypes, got ",
        input.dtype());
  return select(view_as_real(input), -1, 1);
}

Tensor select_backward(const Tensor& grad, IntList input_size, int64_t dim, int64_t index) {
  Tensor out = zeros(input_size, grad);
  copy_(select(out, dim, index), grad);
  return out;
}

Tensor slice_backward(const Tensor& grad, IntList input_size, int64_t dim, std::optional<int64_t> start,
                      std::optional<int64_t> stop, int64_t step) {
  Tensor out = zeros(input_size, grad);
  copy_(slice(out, dim, start, stop, step), grad);
  return out;
}

Tensor diagonal_backward(const Tensor& grad, IntList input_size, int64_t offset, int64_t dim1, int64_t dim2) {
  Tensor out = zeros(input_size, grad);
  copy_(diagonal(out, offset, dim1, dim2), grad);
  return out;
}

namespace {

// Add the elements of grad to buffer at the places of a geometry, which may reach an element more than once.
void accumulate_at(const Tensor& buffer, const Tensor& grad, IntList size, IntList stride, int64_t offset) {
  if (grad.numel() == 0) return;
  Tensor dense = contiguous(grad);
  visit_dtype<AllTypes>(grad.dtype(), "as_strided_backward", [&]<class T>() {
    using A = std::conditional_t<std::is_same_v<T, bool>, int, acc_t<T>>;
    T* to = buffer.data<T>();
    const T* from = dense.data<T>();
    Dims index(static_cast<int64_t>(size.size()));
    int64_t at = offset;
    for (int64_t i = 0; i < dense.numel(); ++i) {
      to[at] = static_cast<T>(static_cast<A>(to[at]) + static_cast<A>(from[i]));
      for (int64_t d = index.size() - 1; d >= 0; --d) {
        at += stride[d];
        if (++index[d] < size[d]) break;
        at -= size[d] * stride[d];
        index[d] = 0;
      }
    }
  });
}

// The elements from the lowest to the highest that two geometries of one storage reach.
struct Window {
  int64_t low, high;
  Window(IntList size, IntList stride, int64_t offset) : low(offset), high(offset + 1) {
    for (size_t i = 0; i < size.size(); ++i) {
      if (size[i] == 0) {
        low = high = offset;
        return;
      }
      int64_t reach = (size[i] - 1) * stride[i];
      (reach < 0 ? low : high) += reach;
    }
  }
  void join(const Window& other) {
    low = std::min(low, other.low);
    high = std::max(high, other.high);
  }
};

}  // namespace

Tensor unfold_backward(const Tensor& grad, IntList input_size, int64_t dim, int64_t size, int64_t step) {
  Tensor out = zeros(input_size, grad);
  Tensor windows = unfold(out, dim, size, step);
  accumulate_at(out, grad, windows.sizes(), windows.strides(), windows.offset());
  return out;
}

Tensor as_strided_backward(const Tensor& grad, IntList input_size, IntList input_stride, int64_t input_offset,
                           IntList size, IntList stride, std::optional<int64_t> storage_offset) {
  int64_t offset = storage_offset.value_or(input_offset);
  Window window(input_size, input_stride, input_offset);
  window.join(Window(size, stride, offset));
  Tensor buffer = zeros(Dims{window.high - window.low}, grad);
  accumulate_at(buffer, grad, size, stride, offset - window.low);
  Tensor out = contiguous(buffer.view_as(input_size, input_stride, input_offset - window.low));
  if (has_no_overlap(input_size, input_stride)) return out;
  // An input that reaches an element several times shares its gradient out evenly.
  Tensor counts = zeros(Dims{window.high - window.low}, grad),
         ones = empty(input_size, grad.dtype(), grad.device());
  fill_(ones, Scalar(1.0));
  accumulate_at(counts, ones, input_size, input_stride, input_offset - window.low);
  Tensor count = contiguous(counts.view_as(input_size, input_stride, input_offset - window.low));
  visit_dtype<FloatsAndComplexes>(grad.dtype(), "as_strided_backward", [&]<class T>() {
    for (int64_t i = 0; i < out.numel(); ++i)
      out.data<T>()[i] =
          static_cast<T>(static_cast<acc_t<T>>(out.data<T>()[i]) / static_cast<acc_t<T>>(count.data<T>()[i]));
  });
  return out;
}

Tensor view_gather(const Tensor& grad, IntList base_size, IntList base_stride, int64_t base_offset,
                   IntList size, IntList stride, int64_t offset) {
  Window window(base_size, base_stride, base_offset);
  window.join(Window(size, stride, offset));
  Tensor buffer = zeros(Dims{window.high - window.low}, grad);
  copy_(buffer.view_as(base_size, base_stride, base_offset - window.low), grad);
  return clone(buffer.view_as(size, stride, offset - window.low));
}

Tensor view_scatter(const Tensor& grad, const OptionalTensor& src, IntList base_size, IntList base_stride,
                    int64_t base_offset, IntList size, IntList stride, int64_t offset) {
  Window window(base_size, base_stride, base_offset);
  window.join(Window(size, stride, offset));
  Tensor buffer = zeros(Dims{window.high - window.low}, grad);
  copy_(buffer.view_as(base_size, base_stride, base_offset - window.low), grad);
  Tensor part = buffer.view_as(size, stride, offset - window.low);
  if (src) {
    copy_(part, *src);
  } else {
    zero_(part);
  }
  return contiguous(buffer.view_as(base_size, base_stride, base_offset - window.low));
}

}  // namespace ctorch::ops
