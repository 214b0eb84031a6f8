# The files of edgelora_core that lie beside this list; each folder below has a list of its own.
set(EDGELORA_CORE_SOURCES
  adapter_set.cpp
  cache.cpp
  callers.cpp
  characters.cpp
  generate.cpp
  graph.cpp
  groups.cpp
  ort.cpp
  packing.cpp
  parse_json.cpp
  request.cpp
  session.cpp
  threads.cpp
  token_model.cpp
  values.cpp
)
