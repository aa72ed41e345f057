#!/usr/bin/env bash
# Counts the names in a directory. Scalar parameters come as RUNE_PARAM_<NAME>.
path=$RUNE_PARAM_PATH

if [[ ! -d $path || ! -r $path ]]; then
  printf '{"error":{"code":3,"message":"there is no such directory, or it may not be read"}}\n'
  exit 3
fi

shopt -s nullglob dotglob
names=("${path%/}"/*)
printf '{"payload":{"result":"success","output_data":{"entries":%d}}}\n' "${#names[@]}"
