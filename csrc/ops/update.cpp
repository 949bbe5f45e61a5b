#include "ops/update.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "kernels/table.h"
#include "ops/copy.h"

namespace ctorch::ops {
namespace {

// Elements per piece of work: some 10 us.
constexpr int64_t kGrain = 16384;

// The tensors of one parameter's step in one order of elements: as they are where all are dense in the order
// of the parameter, else as row-major copies, which write_back() returns.
class Flat {
 public:
  // tensors[0] is the parameter; tensors[1], its gradient, is only read.
  Flat(const char* op, size_t index, std::initializer_list<const Tensor*> tensors) {
    const Tensor& param = **tensors.begin();
    check(is_floating(param.dtype()) || is_complex(param.dtype()), op, ": expected parameter ", index,
          " to be floating or complex, got ", param.dtype());
    check(has_no_overlap(param.sizes(), param.strides()), op, ": parameter ", index,
          " overlaps itself in memory");
    bool in_order = is_dense(param.sizes(), param.strides());
    for (const Tensor* t : tensors) {
      check(t->sizes() == param.sizes() && t->dtype() == param.dtype(), op,
            ": expected the gradient and state of parameter ", index, " to be ", param, " as it is, got ",
            *t);
      in_order &= t->strides() == param.strides();
    }
    for (const Tensor* t : tensors) {
      originals_.push_back(*t);
      flat_.push_back(in_order || t->is_contiguous() ? *t : packed(*t));
    }
    numel_ = param.numel() * (is_complex(param.dtype()) ? 2 : 1);
  }

  template <class T = void>
  T* data(size_t i) const {
    return reinterpret_cast<T*>(flat_[i].data());
  }
  int64_t numel() const { return numel_; }  // real numbers
  int dtype() const { return static_cast<int>(to_real(flat_[0].dtype())); }

  void write_back() const {
    for (size_t i = 0; i < flat_.size(); ++i) {
      if (i == 1) continue;
      if (!flat_[i].is_same(originals_[i])) copy_(originals_[i], flat_[i]);
      originals_[i].bump_version();
    }
  }

 private:
  static Tensor packed(const Tensor& t) {
    Tensor copy = empty(t.sizes(), t.dtype(), t.device());
    copy_(copy, t);
    return copy;
  }

  std::vector<Tensor> originals_;
  std::vector<Tensor> flat_;
  int64_t numel_;
};

// A kernel's call for each parameter, laid end to end so that the threads share them evenly.
template <class Args>
struct Jobs {
  struct Job {
    void (*kernel)(const Args&, int64_t, int64_t);
    Args args;
    int64_t begin;  // of the job's elements among those of all
    int64_t end;
  };
  std::vector<Job> jobs;

  void add(void (*kernel)(const Args&, int64_t, int64_t), const Args& args, int64_t n) {
    int64_t begin = jobs.empty() ? 0 : jobs.back().end;
    jobs.push_back({kernel, args, begin, begin + n});
  }
  void run() const {
    if (jobs.empty()) return;
    parallel_for(0, jobs.back().end, kGrain, [&](int64_t from, int64_t to) {
      auto job = std::upper_bound(jobs.begin(), jobs.end(), from,
                                  [](int64_t at, const Job& j) { return at < j.end; });
      for (; job != jobs.end() && job->begin < to; ++job) {
        job->kernel(job->args, std::max(from, job->begin) - job->begin, std::min(to, job->end) - job->begin);
      }
    });
  }
};

void check_length(const char* op, const char* name, TensorList list, size_t expected) {
  check(list.size() == expected, op, ": expected ", expected, " tensors in ", name, ", got ", list.size());
}

// The number of the step that begins now.
double count_step(const Tensor& step, size_t index) {
  check(step.dtype() == DType::float32 && step.numel() == 1,
        "adam_step: expected the step count of parameter ", index, " to be one float32, got ", step);
  float* count = step.data<float>();
  *count += 1;
  step.bump_version();
  return *count;
}

}  // namespace

void sgd_step(TensorList params, TensorList grads, TensorList momentum_buffers, double lr, double momentum,
              double dampening, double weight_decay, bool nesterov, bool maximize, bool first) {
  constexpr const char* op = "sgd_step";
  bool has_momentum = momentum != 0;
  check_length(op, "grads", grads, params.size());
  check_length(op, "momentum_buffers", momentum_buffers, has_momentum ? params.size() : 0);
  std::vector<Flat> all;
  all.reserve(params.size());
  Jobs<SgdArgs> jobs;
  for (size_t i = 0; i < params.size(); ++i) {
    const Flat& f = has_momentum
                        ? all.emplace_back(Flat(op, i, {&params[i], &grads[i], &momentum_buffers[i]}))
                        : all.emplace_back(Flat(op, i, {&params[i], &grads[i]}));
    jobs.add(cpu_kernels().update.sgd[f.dtype()],
             {.param = f.data(0),
              .grad = f.data(1),
              .buffer = has_momentum ? f.data(2) : nullptr,
              .lr = lr,
              .momentum = momentum,
              .keep = momentum,
              .take = first ? 1 : 1 - dampening,
              .weight_decay = weight_decay,
              .nesterov = nesterov,
              .maximize = maximize},
             f.numel());
  }
  jobs.run();
  for (const Flat& f : all) f.write_back();
}

void adam_step(TensorList params, TensorList grads, TensorList exp_avgs, TensorList exp_avg_sqs,
               TensorList max_exp_avg_sqs, TensorList steps, double lr, double beta1, double beta2,
               double eps, double weight_decay, bool amsgrad, bool maximize, bool decoupled) {
  constexpr const char* op = "adam_step";
  check_length(op, "grads", grads, params.size());
  check_length(op, "exp_avgs", exp_avgs, params.size());
  check_length(op, "exp_avg_sqs", exp_avg_sqs, params.size());
  check_length(op, "max_exp_avg_sqs", max_exp_avg_sqs, amsgrad ? params.size() : 0);
  check_length(op, "steps", steps, params.size());
  std::vector<Flat> all;
  all.reserve(params.size());
  for (size_t i = 0; i < params.size(); ++i) {  // all are checked before anything changes
    if (amsgrad) {
      all.emplace_back(
          Flat(op, i, {&params[i], &grads[i], &exp_avgs[i], &exp_avg_sqs[i], &max_exp_avg_sqs[i]}));
    } else {
      all.emplace_back(Flat(op, i, {&params[i], &grads[i], &exp_avgs[i], &exp_avg_sqs[i]}));
    }
  }
  Jobs<AdamArgs> jobs;
  for (size_t i = 0; i < params.size(); ++i) {
    const Flat& f = all[i];
    double step = count_step(steps[i], i);
    jobs.add(cpu_kernels().update.adam[f.dtype()],
             {.param = f.data(0),
              .grad = f.data(1),
              .exp_avg = f.data(2),
              .exp_avg_sq = f.data(3),
              .max_exp_avg_sq = amsgrad ? f.data(4) : nullptr,
              .beta1 = beta1,
              .beta2 = beta2,
              .eps = eps,
              .weight_decay = decoupled ? 0 : weight_decay,
              .shrink = decoupled ? 1 - lr * weight_decay : 1,
              .step_size = lr / (1 - std::pow(beta1, step)),
              .correction = std::sqrt(1 - std::pow(beta2, step)),
              .maximize = maximize},
             f.numel());
  }
  jobs.run();
  for (const Flat& f : all) f.write_back();
}

}  // namespace ctorch::ops
