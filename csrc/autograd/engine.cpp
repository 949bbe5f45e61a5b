#include "autograd/engine.h"

#include <algorithm>
#include <unordered_map>

#include "autograd/grad_mode.h"

namespace ctorch {
namespace {

class BackwardPass {
 public:
  BackwardPass(BackwardOptions options, bool capture) : options_(options), capture_(capture) {}

  void add_root(const Edge& edge, Tensor grad) {
    int64_t task = visit(edge.node.get());
    roots_.push_back({task, edge.result, std::move(grad)});
  }

  // Only what leads to the wanted edges runs.
  void restrict_to(const std::vector<Edge>& wanted) {
    wanted_ = wanted;
    restricted_ = true;
  }

  std::vector<Tensor> run() {
    collect();
    std::sort(order_.begin(), order_.end(),
              [&](int64_t a, int64_t b) { return tasks_[a].node->sequence > tasks_[b].node->sequence; });
    find_needed();
    for (auto& root : roots_) add_grad(root.task, root.result, std::move(root.grad));
    GradModeGuard mode(options_.create_graph);
    for (int64_t task : order_) execute(task);
    return std::move(captured_);
  }

 private:
  struct Task {
    Ref<Node> node;
    std::vector<Tensor> grads;
    bool needed = true;                         // leads to something that is asked for
    bool executed = true;                       // its formula is run, not only its gradient captured
    std::vector<std::pair<int, int>> captures;  // (result, index into captured_)
  };
  struct Root {
    int64_t task;
    int result;
    Tensor grad;
  };

  int64_t visit(Node* node) {
    auto [place, fresh] = index_.try_emplace(node, static_cast<int64_t>(tasks_.size()));
    if (fresh) {
      order_.push_back(place->second);
      tasks_.push_back({Ref<Node>(node), {}, true, true, {}});
    }
    return place->second;
  }

  void collect() {
    for (size_t i = 0; i < tasks_.size(); ++i) {  // grows while it runs
      Node* node = tasks_[i].node.get();
      for (const Edge& edge : node->edges) {
        if (edge) visit(edge.node.get());
      }
    }
  }

  void find_needed() {
    if (!restricted_) return;
    captured_.resize(capture_ ? wanted_.size() : 0);
    for (Task& task : tasks_) task.needed = task.executed = false;
    for (size_t i = 0; i < wanted_.size(); ++i) {
      auto found = index_.find(wanted_[i].node.get());
      if (found == index_.end()) continue;
      Task& task = tasks_[found->second];
      task.needed = true;
      if (capture_) {
        task.captures.emplace_back(wanted_[i].result, static_cast<int>(i));
      } else {
        task.executed = task.node->variable() != nullptr;  // of others the retained gradient is wanted
      }
    }
    for (auto at = order_.rbegin(); at != order_.rend(); ++at) {
      Task& task = tasks_[*at];
      for (const Edge& edge : task.node->edges) {
        if (edge && tasks_[index_[edge.node.get()]].needed) task.needed = task.executed = true;
      }
    }
  }

  void add_grad(int64_t task_index, int result, Tensor grad) {
    Task& task = tasks_[task_index];
    if (task.grads.empty()) task.grads.resize(std::max<size_t>(task.node->results.size(), 1));
    Tensor& sum = task.grads[static_cast<size_t>(result)];
    if (!sum) {
      sum = std::move(grad);
    } else if (!options_.create_graph && sum.impl()->use_count() == 1 && sum.storage()->use_count() == 1 &&
               is_dense(sum.sizes(), sum.strides())) {
      g_recorded_ops.add_inplace(sum, grad);
    } else {
      sum = g_recorded_ops.add(sum, grad);
    }
  }

  void execute(int64_t task_index) {
    Task& task = tasks_[task_index];
    if (!task.needed || task.grads.empty()) return;
    Node& node = *task.node;
    std::vector<Tensor> grads = std::move(task.grads);
    if (node.extra || node.variable()) call_result_hooks(node, grads);
    for (auto [result, index] : task.captures) captured_[index] = grads[static_cast<size_t>(result)];
    if (!task.executed) return;
    std::vector<char> wanted(node.edges.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      const Edge& edge = node.edges[i];
      wanted[i] = edge && tasks_[index_[edge.node.get()]].needed;
    }
    std::vector<Tensor> made = apply(node, grads, wanted);
    if (!options_.keep_graph) node.release_saved();
    for (size_t i = 0; i < node.edges.size() && i < made.size(); ++i) {
      const Edge& edge = node.edges[i];
      if (!wanted[i] || !made[i]) continue;
      Tensor grad = conform(made[i], edge.node->results[edge.result], node);
      made[i] = Tensor();
      add_grad(index_[edge.node.get()], edge.result, std::move(grad));
    }
  }

  // The hooks may change while they run: copies of the lists are gone through.
  static void call_result_hooks(Node& node, std::vector<Tensor>& grads) {
    auto call = [&](GradHook& hook, int result) {
      Tensor& grad = grads[static_cast<size_t>(result)];
      if (!grad) return;
      if (Tensor changed = hook(grad)) grad = changed;
    };
    if (const Tensor* leaf = node.variable(); leaf && meta(*leaf)) {
      for (const auto& hook : std::vector<Ref<GradHook>>(meta(*leaf)->hooks)) call(*hook, 0);
    }
    if (!node.extra) return;
    for (const auto& [result, hook] : std::vector<NodeExtra::ResultHook>(node.extra->result_hooks))
      call(*hook, result);
    for (const auto& [result, hook] : std::vector<NodeExtra::ResultHook>(node.extra->retainers))
      call(*hook, result);
  }

  static std::vector<Tensor> apply(Node& node, std::vector<Tensor>& grads, const std::vector<char>& wanted) {
    if (CT_LIKELY(!node.extra && !anomaly_mode())) {
      std::vector<Tensor> made = node.apply(grads, wanted);
      grads.clear();
      return made;
    }
    std::vector<Ref<NodePreHook>> pre_hooks;
    std::vector<Ref<NodeHook>> post_hooks;
    if (node.extra) pre_hooks = node.extra->pre_hooks, post_hooks = node.extra->post_hooks;
    for (const auto& hook : pre_hooks) (*hook)(grads);
    std::vector<Tensor> got;
    if (!post_hooks.empty()) got = grads;
    std::vector<Tensor> made =
        anomaly_mode() ? apply_watched(node, grads, wanted) : node.apply(grads, wanted);
    grads.clear();
    for (const auto& hook : post_hooks) (*hook)(made, got);
    return made;
  }

  // In anomaly mode: an error is preceded by a warning that shows where the forward call was made.
  static std::vector<Tensor> apply_watched(Node& node, std::vector<Tensor>& grads,
                                           const std::vector<char>& wanted) {
    try {
      std::vector<Tensor> made = node.apply(grads, wanted);
      if (!g_anomaly_check_nan.load(std::memory_order_relaxed)) return made;
      GradModeGuard off(false);
      for (size_t i = 0; i < made.size(); ++i) {
        check(!wanted[i] || !made[i] || !g_recorded_ops.has_nan(made[i]), "Function '", node.name(),
              "' returned nan values in its ", i, "th output.");
      }
      return made;
    } catch (...) {
      g_recorded_ops.warn_of_error(node);
      throw;
    }
  }

  // The gradient in its input's shape (summed over what was broadcast) and dtype.
  static Tensor conform(Tensor grad, const ResultInfo& want, const Node& node) {
    if (CT_UNLIKELY(grad.sizes() != want.sizes)) {
      int64_t lead = grad.dim() - want.sizes.size();
      bool fits = lead >= 0;
      for (int64_t i = 0; fits && i < want.sizes.size(); ++i)
        fits = want.sizes[i] == grad.sizes()[lead + i] || want.sizes[i] == 1;
      check(fits, node.name(), " returned an invalid gradient: got shape ", grad.sizes(),
            " but expected shape compatible with ", want.sizes);
      grad = g_recorded_ops.sum_to_size(grad, want.sizes);
    }
    if (CT_UNLIKELY(grad.dtype() != want.dtype)) grad = g_recorded_ops.to_dtype(grad, want.dtype);
    return grad;
  }

  BackwardOptions options_;
  bool capture_, restricted_ = false;
  std::vector<Task> tasks_;
  std::vector<int64_t> order_;
  std::unordered_map<Node*, int64_t> index_;
  std::vector<Root> roots_;
  std::vector<Edge> wanted_;
  std::vector<Tensor> captured_;
};

}  // namespace

std::vector<Tensor> run_backward(const std::vector<Tensor>& roots, std::vector<Tensor> grads,
                                 const std::vector<Tensor>& inputs, bool capture, BackwardOptions options) {
  BackwardPass pass(options, capture);
  for (size_t i = 0; i < roots.size(); ++i) {
    Edge edge = gradient_edge(roots[i]);
    check(static_cast<bool>(edge), "element ", i,
          " of tensors does not require grad and does not have a grad_fn");
    pass.add_root(edge, std::move(grads[i]));
  }
  grads.clear();
  if (!inputs.empty()) {
    std::vector<Edge> wanted;
    for (size_t i = 0; i < inputs.size(); ++i) {
      wanted.push_back(gradient_edge(inputs[i]));
      check(static_cast<bool>(wanted.back()),
            "One of the differentiated Tensors does not require grad (number ", i, ")");
      if (!capture) retain_grad(inputs[i]);
    }
    pass.restrict_to(wanted);
  }
  return pass.run();
}

}  // namespace ctorch
