#!/bin/sh
# Copies a folder that package.sh made to where it is to be, or removes from there what an earlier copy put there.
#
#     install.sh PACKAGE DESTINATION
#     install.sh --remove DESTINATION
set -eu
if [ "$1" = --remove ]; then
    list=$2/share/ortshard/installed.txt
    [ -e "$list" ] || { echo "nothing is installed in $2 (there is no $list)" >&2 && exit 1; }
    # Folders go if nothing else is in them. The list is read before it is removed.
    files=$(cat "$list")
    printf '%s\n' "$files" | while read -r file; do
        rm -f "$2/$file"
        (cd "$2" && rmdir -p "$(dirname "$file")") 2> /dev/null || :
    done
    exit
fi
# What an earlier version had, and this one has not, would stay for ever.
[ ! -e "$2/share/ortshard/installed.txt" ] || "$0" --remove "$2"
while read -r file; do
    mkdir -p "$2/$(dirname "$file")"
    # Under another name first: a program that runs on the old file keeps it.
    rm -f "$2/$file.part"
    cp -P "$1/$file" "$2/$file.part"
    mv -f "$2/$file.part" "$2/$file"
done < "$1/share/ortshard/installed.txt"
echo "installed in $2; where that is a folder of the system's, run ldconfig"
