# find_package(voxtral) gives the target voxtral::voxtral.
include(CMakeFindDependencyMacro)
if(NOT TARGET voxtral::voxtral)
  get_filename_component(voxtral_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
  add_library(voxtral::voxtral STATIC IMPORTED)
  file(GLOB voxtral_archive "${voxtral_prefix}/lib/*voxtral.a" "${voxtral_prefix}/lib/voxtral.lib")
  set_target_properties(voxtral::voxtral PROPERTIES IMPORTED_LOCATION "${voxtral_archive}"
                        INTERFACE_INCLUDE_DIRECTORIES "${voxtral_prefix}/include")
  if(NOT WIN32)
    find_dependency(Threads)
    set_target_properties(voxtral::voxtral PROPERTIES INTERFACE_LINK_LIBRARIES "Threads::Threads;m")
  endif()
endif()
