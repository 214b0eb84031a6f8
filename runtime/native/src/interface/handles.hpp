// What the handles of models, generations and cancel flags hold, and what keeps a callback from calling its own model.
//
// Knows nothing about how a model answers.
#pragma once

#include <memory>
#include <vector>

#include "edgelora.h"
#include "encoder_model.hpp"
#include "model.hpp"

struct edgelora_cancel {
    edgelora::Cancel flag;
};

struct edgelora_model {
    std::unique_ptr<edgelora::LoadedModel> model;
};

struct edgelora_generation {
    std::vector<edgelora::Answer> answers;
};

namespace edgelora::interface {

// Says, while it lives, that this thread runs a call of `model`; a callback of that call finds it.
class Calling {
   public:
    // Throws Error{invalid_input} for NULL, and where this thread is in a call of `model` already.
    explicit Calling(edgelora_model* model);
    ~Calling();
    Calling(const Calling&) = delete;
    Calling& operator=(const Calling&) = delete;

    LoadedModel* operator->() const { return model_->model.get(); }
    // The model as what answers; throws Error{invalid_input} where it is for another task.
    Model& generator() const;
    EncoderModel& encoder() const;

   private:
    edgelora_model* model_;
    Calling* outer_;
};

}  // namespace edgelora::interface
