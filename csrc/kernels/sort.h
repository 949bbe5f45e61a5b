// Kernels that order elements, search ordered ones, and count.
//
// All lines are contiguous: (lines, length), row-major. Order is PyTorch's: NaN above everything, equal
// elements (-0 and 0 among them) in the order of their positions.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

struct SortArgs {
  int64_t lines, length;
  bool descending;
  const void* in;
  void* values;      // (lines, length), or null
  int64_t* indices;  // (lines, length), or null
};

// The k largest (or smallest) of each line, in order; of equal ones the first.
struct TopkArgs {
  int64_t lines, length, k;
  bool largest;
  const void* in;
  void* values;      // (lines, k)
  int64_t* indices;  // (lines, k)
};

// The index of the element that a sort would put at position[line] of each line.
struct SelectArgs {
  int64_t lines, length;
  const void* in;
  const int64_t* position;
  int64_t* indices;  // (lines)
};

// Positions in ordered lines at which values would be inserted: before equal elements, or after them if
// `right`.
struct SearchArgs {
  int64_t lines, length, count;  // of the sorted sequence, and of the values of each of its lines
  bool one_sequence;             // the same sequence for all lines
  bool right;
  const void* sequence;
  const int64_t* sorter;  // sequence[sorter[i]] is in order; null if the sequence is
  const void* values;     // (lines, count)
  int64_t* out;
};

struct SortTable {
  void (*sort[kNumDTypes])(const SortArgs&);
  void (*topk[kNumDTypes])(const TopkArgs&);
  void (*select[kNumDTypes])(const SelectArgs&);
  void (*search[kNumDTypes])(const SearchArgs&);
  // first[i] = whether ordered element i differs from the one before it; NaN differs from everything.
  void (*run_starts[kNumDTypes])(const void* in, int64_t n, bool* first);
  // Of each ordered line: the value that is there most often (the smallest of several) and the last position
  // of its run.
  void (*mode[kNumDTypes])(const void* in, int64_t lines, int64_t length, int64_t* last);
  // Number of NaN elements of each line.
  void (*count_nan[kNumDTypes])(const void* in, int64_t lines, int64_t length, int64_t* out);
  // Bytes whose order, by memcmp, is that of the elements: the first byte weighs most.
  void (*ordered_bytes[kNumDTypes])(const void* in, int64_t n, uint8_t* out);
  // The smallest and largest of n > 0 integers, as int64.
  void (*integer_range[kNumDTypes])(const void* in, int64_t n, int64_t* smallest, int64_t* largest);
  // counts[x - smallest] += 1 for every integer x.
  void (*count_integers[kNumDTypes])(const void* in, int64_t n, int64_t smallest, int64_t* counts);
  // counts[bin] += weight (1 without weights), in order; bins are checked by the caller.
  void (*weighted_count)(const int64_t* bins, const double* weights, int64_t n, double* counts);
  // Counts of n elements in equal bins over [low, high], the last closed; elements outside count nowhere.
  void (*histogram[kNumDTypes])(const void* in, int64_t n, double low, double high, int64_t bins,
                                int64_t* counts);
};

}  // namespace ctorch
