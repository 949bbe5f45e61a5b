// Exceptions of the engine, one class per Python exception class, and check().
#pragma once

#include <exception>
#include <sstream>
#include <string>
#include <utility>

#include "core/macros.h"

namespace ctorch {

enum class ErrorKind { runtime, index, type, value, not_implemented, out_of_memory };

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
  std::string message_;
};

// The text of its parts, written one after the other with operator<<.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] CT_NOINLINE void fail(ErrorKind kind, const Parts&... parts) {
  throw Error(kind, concat(parts...));
}

// Throw, unless cond holds, a RuntimeError (shapes, dtypes, devices) with the text of the parts.
template <class... Parts>
CT_INLINE void check(bool cond, const Parts&... parts) {
  if (CT_UNLIKELY(!cond)) fail(ErrorKind::runtime, parts...);
}
// The same for an IndexError (dims and indices), a TypeError (kinds of argument), a ValueError (values of
// options).
template <class... Parts>
CT_INLINE void check_index(bool cond, const Parts&... parts) {
  if (CT_UNLIKELY(!cond)) fail(ErrorKind::index, parts...);
}
template <class... Parts>
CT_INLINE void check_type(bool cond, const Parts&... parts) {
  if (CT_UNLIKELY(!cond)) fail(ErrorKind::type, parts...);
}
template <class... Parts>
CT_INLINE void check_value(bool cond, const Parts&... parts) {
  if (CT_UNLIKELY(!cond)) fail(ErrorKind::value, parts...);
}
template <class... Parts>
CT_INLINE void check_implemented(bool cond, const Parts&... parts) {
  if (CT_UNLIKELY(!cond)) fail(ErrorKind::not_implemented, parts...);
}

}  // namespace ctorch
