// The conformance cases that need a loaded artifact and no text: logits, tokens, batch, error.
//
// Knows nothing about how the cases were read.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "token_model.hpp"

namespace edgelora {

// One loaded model for all cases of an artifact, so that nothing may remain from one case to the next.
class Models {
  public:
    explicit Models(std::filesystem::path folder) : folder_(std::move(folder)) {}
    TokenModel& find(const std::string& artifact);

  private:
    std::filesystem::path folder_;
    std::map<std::string, std::unique_ptr<TokenModel>> loaded_;
};

// Each says what is wrong with the answer to a case; empty where nothing is.
std::string check_logits(const Json& item, Models& models);
std::string check_tokens(const Json& item, Models& models);
std::string check_batch(const Json& item, Models& models);
std::string check_error(const Json& item, Models& models);

}  // namespace edgelora
