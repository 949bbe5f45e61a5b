#include "bindings/def_op.h"
#include "ops/sort.h"

namespace ctorch::py {
namespace {

Tensor msort(const Tensor& input) { return std::get<0>(ops::sort(input, 0, false, true)); }

}  // namespace

void init_ops_sort() {
  def_op<&ops::sort>(
      "sort(Tensor input, int dim=-1, bool descending=False, bool stable=False, *, Out out=None) -> (Tensor "
      "values, Tensor indices)",
      "The elements in order along dim, and where they were. Equal elements keep their order always; NaN is "
      "above everything.",
      kBoth);
  def_op<&ops::argsort>(
      "argsort(Tensor input, int dim=-1, bool descending=False, bool stable=False) -> Tensor",
      "The indices that put the elements in order along dim; see sort().", kBoth);
  def_op<&msort>("msort(Tensor input, *, Out out=None) -> Tensor",
                 "The elements in order along the first dim.", kBoth);
  def_op<&ops::topk>(
      "topk(Tensor input, int k, int dim=-1, bool largest=True, bool sorted=True, *, Out out=None) -> "
      "(Tensor values, Tensor indices)",
      "The k largest (or smallest) elements along dim, in order, and where they are.", kBoth);
  def_op<&ops::kthvalue>(
      "kthvalue(Tensor input, int k, int dim=-1, bool keepdim=False, *, Out out=None) -> (Tensor values, "
      "Tensor indices)",
      "The k-th smallest element along dim (k from 1), and where it is.", kBoth);
  def_op<&ops::median>(
      "median(Tensor input) -> Tensor",
      "The median; of two middle elements the lower one; NaN if there is one. With dim: (values, indices).",
      kBoth);
  def_op<&ops::median_dim>(
      "median.dim(Tensor input, int dim, bool keepdim=False, *, Out out=None) -> (Tensor values, Tensor "
      "indices)",
      "", kBoth);
  def_op<&ops::nanmedian>("nanmedian(Tensor input) -> Tensor",
                          "The median of the elements that are not NaN. With dim: (values, indices).", kBoth);
  def_op<&ops::nanmedian_dim>(
      "nanmedian.dim(Tensor input, int dim, bool keepdim=False, *, Out out=None) -> (Tensor values, Tensor "
      "indices)",
      "", kBoth);
  def_op<&ops::mode>(
      "mode(Tensor input, int dim=-1, bool keepdim=False, *, Out out=None) -> (Tensor values, Tensor "
      "indices)",
      "The most frequent element along dim (the smallest of several), and where it is.", kBoth);

  def_op<&ops::unique>(
      "_unique(Tensor input, bool return_inverse, bool return_counts) -> (Tensor, Tensor, Tensor)",
      "The distinct elements in order; for each element the number of its value; how often each is there.",
      kInternal);
  def_op<&ops::unique_dim>(
      "_unique_dim(Tensor input, int dim, bool return_inverse, bool return_counts) -> (Tensor, Tensor, "
      "Tensor)",
      "_unique of the slices along dim.", kInternal);
  def_op<&ops::unique_consecutive>(
      "_unique_consecutive(Tensor input, bool return_inverse, bool return_counts, int? dim=None) -> (Tensor, "
      "Tensor, Tensor)",
      "One element of each run of equal ones; see _unique.", kInternal);

  def_op<&ops::searchsorted>(
      "searchsorted(Tensor sorted_sequence, Operand input, *, bool out_int32=False, bool right=False, str? "
      "side=None, Tensor? sorter=None, "
      "Out out=None) -> Tensor",
      "Where in the ordered last dim of sorted_sequence the elements of input belong: before equal ones, or "
      "after them if right.",
      kFunction);
  def_op<&ops::bucketize>(
      "bucketize(Operand input, Tensor boundaries, *, bool out_int32=False, bool right=False, Out out=None) "
      "-> Tensor",
      "The number of the bucket, between ordered boundaries, of each element.", kFunction);
  def_op<&ops::isin>(
      "isin(Operand elements, Operand test_elements, *, bool assume_unique=False, bool invert=False, Out "
      "out=None) -> Tensor",
      "Whether each element is among test_elements (not among them if invert).", kFunction);
  def_op<&ops::bincount>("bincount(Tensor input, Tensor? weights=None, int minlength=0) -> Tensor",
                         "How often each of 0, 1, 2... is there, or the sum of the weights of its places.",
                         kBoth);
  def_op<&ops::histc>(
      "histc(Tensor input, int bins=100, Scalar min=0, Scalar max=0, *, Out out=None) -> Tensor",
      "Counts of elements in equal bins from min to max (of the elements, if both are the same).", kBoth);
}

}  // namespace ctorch::py
