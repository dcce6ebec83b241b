#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/redis_suite.sh FOLDER: the source of Debian's redis, unpacked to
# FOLDER/src, whose test suite tests/live/redis_suite.py drives through Godwit.
#
# It is of the version of the redis-server that is installed, and comes from
# the machine's own package sources. Nothing of it is built: the suite talks to
# the installed programs. Quick when it is there already.
set -eu

[ $# -eq 1 ] || { sed -n '3,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
folder=$(pwd)
[ -x src/src/redis-cli ] && exit 0

for tool in tclsh dpkg-source redis-server; do
    command -v $tool >/dev/null && continue
    echo "redis_suite: no $tool; apt-get install tcl dpkg-dev redis-server" >&2
    exit 1
done
version=$(dpkg-query -W -f '${Version}' redis-server)

# The machine's own sources, asked for source packages, in lists of our own.
mkdir -p parts lists/partial cache/archives/partial
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    case "$file" in *.list | *.sources) ;; *) continue ;; esac
    [ -f "$file" ] || continue
    sed 's/^Types:.*/Types: deb-src/; s/^deb /deb-src /' "$file" >"parts/${file##*/}"
done
apt()
{
    apt-get -q -o Dir::Etc::SourceList=/dev/null \
        -o "Dir::Etc::SourceParts=$folder/parts" \
        -o "Dir::State::Lists=$folder/lists" \
        -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root "$@" >&2
}
apt update
apt source --download-only "redis=$version"
rm -rf src
dpkg-source -x redis_*.dsc src >&2

# Where the suite looks for the programs that were not built here.
for program in redis-server redis-benchmark redis-check-aof redis-check-rdb redis-cli; do
    ln -s "$(command -v $program)" "src/src/$program"
done
