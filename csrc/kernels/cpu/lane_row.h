// Rows of 16 lanes, in as many registers as the level needs: an element of each of 16 planes or matrix rows
// that are computed side by side.
#pragma once

#include "kernels/cpu/gemm_simd.h"

namespace ctorch::CT_ISA {
namespace {

inline constexpr int64_t kRowOfLanes = 16;  // a register or a cache line of floats

template <class S>
struct LaneRow {
  static constexpr int kVectors = static_cast<int>(kRowOfLanes / kLanes<S>);
  using Vector = typename Simd<S>::Vector;
  Vector v[kVectors];

  static CT_INLINE LaneRow all(S value) {
    LaneRow r;
    for (int i = 0; i < kVectors; ++i) r.v[i] = Vector{} + value;
    return r;
  }
  static CT_INLINE LaneRow load(const S* p) {
    LaneRow r;
    for (int i = 0; i < kVectors; ++i) r.v[i] = load_vector(p + i * kLanes<S>);
    return r;
  }
  CT_INLINE void store(S* p) const {
    for (int i = 0; i < kVectors; ++i) store_vector(p + i * kLanes<S>, v[i]);
  }
  CT_INLINE LaneRow operator+(const LaneRow& b) const {
    LaneRow r;
    for (int i = 0; i < kVectors; ++i) r.v[i] = v[i] + b.v[i];
    return r;
  }
  CT_INLINE LaneRow operator-(const LaneRow& b) const {
    LaneRow r;
    for (int i = 0; i < kVectors; ++i) r.v[i] = v[i] - b.v[i];
    return r;
  }
  CT_INLINE LaneRow operator*(const LaneRow& b) const {
    LaneRow r;
    for (int i = 0; i < kVectors; ++i) r.v[i] = v[i] * b.v[i];
    return r;
  }
  CT_INLINE LaneRow operator/(const LaneRow& b) const {
    LaneRow r;
    for (int i = 0; i < kVectors; ++i) r.v[i] = v[i] / b.v[i];
    return r;
  }
};

}  // namespace
}  // namespace ctorch::CT_ISA
