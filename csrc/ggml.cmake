# Fetch ggml's source, pinned by version and hash, and compile the part that the core uses.
#
# The source comes out of a PyPI source distribution, through pip, so that an ordinary package index or
# mirror is all a build needs. A local tree may be named with -DVOXTRAL_GGML_DIR=... instead. The archive
# is kept in the build directory: a second build does not fetch it again.

set(VOXTRAL_GGML_DIR "" CACHE PATH "A local ggml source tree; empty: fetch the pinned one")
set(ggml_package libggml-python)
set(ggml_version 0.20.2.post1)
set(ggml_sha256 e47ff53506342959ffb3ce15380b82828fea10ec5f208f9ef6915895f1a7a176)

if(VOXTRAL_GGML_DIR)
  set(ggml_dir "${VOXTRAL_GGML_DIR}")
  set(ggml_source "a local tree")
  if(NOT EXISTS "${ggml_dir}/include/ggml.h")
    message(FATAL_ERROR "VOXTRAL_GGML_DIR=${ggml_dir} holds no include/ggml.h: name the root of a ggml tree.")
  endif()
else()
  set(ggml_source "${ggml_package} ${ggml_version}")
  set(ggml_root "${CMAKE_BINARY_DIR}/ggml-source")
  set(ggml_archive "${ggml_root}/libggml_python-${ggml_version}.tar.gz")
  set(ggml_dir "${ggml_root}/libggml_python-${ggml_version}/ggml")
  if(EXISTS "${ggml_archive}")
    file(SHA256 "${ggml_archive}" found_sha256)
  endif()
  if(NOT "${found_sha256}" STREQUAL "${ggml_sha256}")
    message(STATUS "Fetching ${ggml_package} ${ggml_version} (7 MB) with pip")
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -m pip download --quiet --disable-pip-version-check --no-deps
              --no-binary "${ggml_package}" --dest "${ggml_root}" "${ggml_package}==${ggml_version}"
      RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(failed)
      message(FATAL_ERROR
        "ggml's source could not be fetched: pip found no way to ${ggml_package}==${ggml_version}.\n"
        "Connect to a package index (pip's usual settings and proxies apply), or unpack that source\n"
        "distribution elsewhere and build with\n"
        "  pip install . -C cmake.define.VOXTRAL_GGML_DIR=/path/to/libggml_python-${ggml_version}/ggml\n"
        "pip said:\n${output}")
    endif()
    file(SHA256 "${ggml_archive}" found_sha256)
    if(NOT "${found_sha256}" STREQUAL "${ggml_sha256}")
      message(FATAL_ERROR "${ggml_archive} has sha256 ${found_sha256}, not the pinned ${ggml_sha256}: "
                          "delete it and try again, or check the package index.")
    endif()
  endif()
  if(NOT EXISTS "${ggml_dir}/include/ggml.h")
    file(ARCHIVE_EXTRACT INPUT "${ggml_archive}" DESTINATION "${ggml_root}")
  endif()
endif()

# Of all that, the core uses how numbers lie in blocks, and the quantisers. What these need of the rest is dropped when
# a program is linked, as nothing calls it.
file(STRINGS "${ggml_dir}/CMakeLists.txt" ggml_numbers REGEX "^set\\(GGML_VERSION_(MAJOR|MINOR|PATCH) ")
list(TRANSFORM ggml_numbers REPLACE "[^0-9]" "")
list(JOIN ggml_numbers "." ggml_numbers)
# Assertions name files as the source calls them, wherever it lies: here and in our own files.
add_compile_options("-fmacro-prefix-map=${CMAKE_CURRENT_SOURCE_DIR}/=" "-fmacro-prefix-map=${ggml_dir}/=ggml/")
add_library(ggml OBJECT "${ggml_dir}/src/ggml.c" "${ggml_dir}/src/ggml-quants.c" ggml_rest.c)
target_include_directories(ggml SYSTEM PUBLIC "${ggml_dir}/include" PRIVATE "${ggml_dir}/src")
target_compile_definitions(ggml PRIVATE _GNU_SOURCE NDEBUG GGML_VERSION="${ggml_numbers}" GGML_COMMIT="")
target_compile_options(ggml PRIVATE -w -ffp-contract=off -ffunction-sections -fdata-sections)
target_link_libraries(ggml PUBLIC m)
if(APPLE)
  target_link_options(ggml INTERFACE -Wl,-dead_strip)
else()
  target_link_options(ggml INTERFACE -Wl,--gc-sections)
endif()
