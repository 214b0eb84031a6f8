# The files of edgelora_core that lie beside this list; each folder below has a list of its own.
set(EDGELORA_CORE_SOURCES
  cache.cpp
  characters.cpp
  graph.cpp
  groups.cpp
  ort.cpp
  packing.cpp
  parse_json.cpp
  session.cpp
  threads.cpp
  values.cpp
)
