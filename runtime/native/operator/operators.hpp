// Every operator of the library, one function each; register.cpp has the table of them.
#pragma once

#include <onnxruntime_c_api.h>

namespace edgelora::ops {

const OrtCustomOp* low_rank();       // low_rank_operator.cpp
const OrtCustomOp* low_rank_gelu();  // low_rank_operator.cpp
const OrtCustomOp* linear();         // linear_operator.cpp
const OrtCustomOp* embed();          // linear_operator.cpp
const OrtCustomOp* round_rows();     // round_rows_operator.cpp
const OrtCustomOp* group_query_attention();           // attention_operator.cpp
const OrtCustomOp* group_query_attention_in_bytes();  // the same over a cache in int8

}  // namespace edgelora::ops
