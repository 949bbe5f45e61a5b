// Shapes and strides: a small vector, and the rules of broadcasting, contiguity and views. Strides count
// elements.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <ostream>
#include <span>

#include "core/error.h"

namespace ctorch {

using IntList = std::span<const int64_t>;

// A vector of int64 that holds up to kInline values without allocating.
class Dims {
 public:
  static constexpr int64_t kInline = 5;

  Dims() = default;
  explicit Dims(int64_t n, int64_t value = 0) { resize(n, value); }
  Dims(std::initializer_list<int64_t> values) : Dims(IntList(values.begin(), values.size())) {}
  Dims(IntList values) {
    reserve(static_cast<int64_t>(values.size()));
    size_ = static_cast<int64_t>(values.size());
    std::copy(values.begin(), values.end(), data());
  }
  Dims(const Dims& other) : Dims(IntList(other)) {}
  Dims(Dims&& other) noexcept { take(other); }
  ~Dims() { drop(); }
  Dims& operator=(const Dims& other) {
    if (this != &other) {
      if (other.size_ > capacity()) reserve(other.size_);
      size_ = other.size_;
      std::copy(other.begin(), other.end(), data());
    }
    return *this;
  }
  Dims& operator=(Dims&& other) noexcept {
    if (this != &other) {
      drop();
      take(other);
    }
    return *this;
  }

  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t* data() { return heap_ ? heap_ : inline_; }
  const int64_t* data() const { return heap_ ? heap_ : inline_; }
  int64_t* begin() { return data(); }
  int64_t* end() { return data() + size_; }
  const int64_t* begin() const { return data(); }
  const int64_t* end() const { return data() + size_; }
  int64_t& operator[](int64_t i) { return data()[i]; }
  int64_t operator[](int64_t i) const { return data()[i]; }
  int64_t& back() { return data()[size_ - 1]; }
  int64_t back() const { return data()[size_ - 1]; }
  operator IntList() const { return {data(), static_cast<size_t>(size_)}; }

  void resize(int64_t n, int64_t value = 0) {
    reserve(n);
    if (n > size_) std::fill(data() + size_, data() + n, value);
    size_ = n;
  }
  void push_back(int64_t value) {
    if (size_ == capacity()) reserve(2 * size_);
    data()[size_++] = value;
  }
  void pop_back() { --size_; }
  void insert(int64_t at, int64_t value) {
    push_back(0);
    std::copy_backward(begin() + at, end() - 1, end());
    data()[at] = value;
  }
  void erase(int64_t at) {
    std::copy(begin() + at + 1, end(), begin() + at);
    --size_;
  }
  friend bool operator==(const Dims& a, const Dims& b) {
    return a.size_ == b.size_ && std::equal(a.begin(), a.end(), b.begin());
  }

 private:
  int64_t capacity() const { return heap_ ? capacity_ : kInline; }
  void reserve(int64_t n) {
    if (n <= capacity()) return;
    auto* fresh = new int64_t[static_cast<size_t>(n)];
    std::copy(begin(), end(), fresh);
    drop();
    heap_ = fresh;
    capacity_ = n;
  }
  void drop() {
    delete[] heap_;
    heap_ = nullptr;
  }
  void take(Dims& other) {
    size_ = other.size_;
    heap_ = other.heap_;
    capacity_ = other.capacity_;
    if (!heap_) std::copy(other.inline_, other.inline_ + size_, inline_);
    other.heap_ = nullptr;
    other.size_ = 0;
  }

  int64_t size_ = 0;
  int64_t* heap_ = nullptr;
  union {
    int64_t inline_[kInline];
    int64_t capacity_;
  };
};

inline bool same(IntList a, IntList b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

// "(2, 3)" and "(4,)", as Python writes a shape.
std::ostream& operator<<(std::ostream& out, const Dims& dims);
struct ShapeText {  // lets a span be written the same way: out << ShapeText{sizes}
  IntList dims;
};
std::ostream& operator<<(std::ostream& out, ShapeText shape);

// The product of the sizes. Throws if a size is negative or the product does not fit into an int64.
int64_t checked_numel(IntList sizes, const char* op);
// The strides of a row-major tensor of these sizes.
Dims contiguous_strides(IntList sizes);
// Whether (sizes, strides) is row-major; strides of dims of size 1 do not matter, an empty tensor is.
bool is_contiguous(IntList sizes, IntList strides);
// Whether a 4-d (N, C, H, W) or 5-d tensor is dense with C innermost.
bool is_channels_last(IntList sizes, IntList strides);
Dims channels_last_strides(IntList sizes);
// Whether the elements fill a block of memory without gaps or overlaps, in some order of dims, with positive
// strides.
bool is_dense(IntList sizes, IntList strides);
// False if two indices may reach the same element (as with an expanded dim); conservative for odd strides.
bool has_no_overlap(IntList sizes, IntList strides);

// A dim given as in Python: -1 is the last. IndexError, worded as PyTorch does, if it is out of range; a
// 0-dim tensor takes 0 and -1.
int64_t wrap_dim(int64_t dim, int64_t ndim, const char* op);
// Dims of a list, wrapped; an error if one is repeated. An empty list means all.
Dims wrap_dims(IntList dims, int64_t ndim, const char* op, bool empty_means_all = true);

// The common shape of two shapes; throws, naming both and the op, if there is none.
Dims broadcast_shapes(IntList a, IntList b, const char* op);
// Strides with which a tensor of (sizes, strides) is read in the shape `to`: 0 along broadcast dims.
Dims expand_strides(IntList sizes, IntList strides, IntList to, const char* op);
// `shape` with a -1 replaced by what makes it hold numel elements; throws if that cannot be.
Dims infer_shape(IntList shape, int64_t numel, const char* op);
// Strides that let a tensor of (sizes, strides) be seen in another shape without a copy, if there are any.
std::optional<Dims> view_strides(IntList sizes, IntList strides, IntList to);

}  // namespace ctorch
