// A tensor: a storage, and how to walk it (offset, sizes, strides, dtype). Views share the storage.
#pragma once

#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "core/device.h"
#include "core/dims.h"
#include "core/dtype.h"
#include "core/ref.h"
#include "core/scalar.h"
#include "core/storage.h"

namespace ctorch {

// What a higher layer attaches to a tensor (the autograd layer does); core only owns it.
struct TensorExtra {
  virtual ~TensorExtra() = default;
};

class TensorImpl final : public RefCounted {
 public:
  TensorImpl(Ref<Storage> storage, DType dtype, int64_t offset, Dims sizes, Dims strides);
  // Row-major over the whole storage; skips the checks that a view needs.
  TensorImpl(Ref<Storage> storage, DType dtype, Dims sizes, int64_t numel);
  ~TensorImpl() override;

  void set_geometry(int64_t offset, Dims sizes, Dims strides);
  void set_storage(Ref<Storage> storage);

  Ref<Storage> storage;
  char* data;  // of the element at index 0
  int64_t offset = 0;
  int64_t numel;
  Dims sizes;
  Dims strides;
  DType dtype;
  bool contiguous;
  bool requires_grad = false;  // a leaf that asks for a gradient, or a result that has a history
  bool counts_writes = true;   // false for x.data: its writes leave the version counter alone
  bool is_inference = false;   // made in inference mode: never part of a graph
  std::unique_ptr<TensorExtra> extra;
  void* python = nullptr;  // the Python object that wraps this, if there is one (not owned)
};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}
  explicit Tensor(TensorImpl* impl) : impl_(impl) {}

  explicit operator bool() const { return static_cast<bool>(impl_); }  // defined, not its value
  TensorImpl* impl() const { return impl_.get(); }
  Ref<TensorImpl>& ref() { return impl_; }
  bool is_same(const Tensor& other) const { return impl_ == other.impl_; }

  int64_t dim() const { return impl_->sizes.size(); }
  const Dims& sizes() const { return impl_->sizes; }
  const Dims& strides() const { return impl_->strides; }
  // One size or stride; a negative dim counts from the end.
  int64_t size(int64_t dim) const { return impl_->sizes[wrap_dim(dim, this->dim(), "size")]; }
  int64_t stride(int64_t dim) const { return impl_->strides[wrap_dim(dim, this->dim(), "stride")]; }
  int64_t numel() const { return impl_->numel; }
  int64_t offset() const { return impl_->offset; }
  DType dtype() const { return impl_->dtype; }
  int64_t item_size() const { return ctorch::item_size(impl_->dtype); }
  Device device() const { return impl_->storage->device(); }
  const Ref<Storage>& storage() const { return impl_->storage; }
  bool is_contiguous() const { return impl_->contiguous; }
  bool requires_grad() const { return impl_->requires_grad; }

  template <class T = char>
  T* data() const {
    return reinterpret_cast<T*>(impl_->data);
  }

  int64_t version() const { return impl_->storage->version(); }
  void bump_version() const { impl_->storage->count_write(impl_->counts_writes); }

  // A view of the same storage. The geometry must lie within the storage (checked).
  Tensor view_as(Dims sizes, Dims strides, int64_t offset) const;
  // The same elements under a new tensor, which has no history: what detach() returns.
  Tensor alias() const;

 private:
  Ref<TensorImpl> impl_;
};

// In which order the dims of a fresh tensor lie in memory: row-major, as in the tensor it is made from, or
// channels innermost.
enum class MemoryFormat { contiguous, preserve, channels_last, channels_last_3d };

// Fresh, uninitialised tensors.
Tensor empty(IntList sizes, DType dtype, Device device = {});
Tensor empty_strided(IntList sizes, IntList strides, DType dtype, Device device = {});
// Row-major or, where `like` is dense in another order, in that order: PyTorch's
// memory_format=preserve_format.
Tensor empty_like(const Tensor& like, std::optional<DType> dtype = std::nullopt);
// A 0-dim tensor.
Tensor scalar_tensor(const Scalar& value, DType dtype, Device device = {});

// The value of a one-element tensor. Throws if it has more or less than one.
Scalar item(const Tensor& t, const char* op = "item");

// An argument that may be a tensor or a number. A number counts little in promotion: see result_type().
class Operand {
 public:
  Operand(const Tensor& tensor) : tensor_(&tensor) {}
  Operand(const Scalar& scalar) : scalar_(scalar) {}
  bool is_tensor() const { return tensor_ != nullptr; }
  const Tensor& tensor() const { return *tensor_; }
  const Scalar& scalar() const { return scalar_; }

 private:
  const Tensor* tensor_ = nullptr;
  Scalar scalar_;
};

// Where a result is to be written, if not into a fresh tensor. An out= tensor may be resized; the target of
// an in-place operation keeps its shape.
struct Out {
  const Tensor* target = nullptr;
  bool inplace = false;
  explicit operator bool() const { return target != nullptr; }
};

using TensorList = std::span<const Tensor>;
using OptionalTensor = std::optional<Tensor>;

std::ostream& operator<<(std::ostream& out, const Tensor& t);  // "float32 (2, 3)", for messages

}  // namespace ctorch
