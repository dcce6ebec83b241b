#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/pg_regress.sh FOLDER: the regression suite of PostgreSQL 15, from Debian's
# source package, made ready for tests/live/pg_regress.py in FOLDER/suite.
#
# It is of the version of the postgresql-15 that is installed, and comes from the
# machine's own package sources. pg_regress itself is in Debian's package; of the
# source only its one file of functions in C is compiled. Quick when it is there.
set -eu

[ $# -eq 1 ] || { sed -n '3,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
folder=$(pwd)
[ -e suite/ready ] && exit 0

include=/usr/include/postgresql/15/server
lib=/usr/lib/postgresql/15/lib
for file in /usr/bin/gcc /usr/bin/dpkg-source $include $lib/refint.so; do
    [ -e $file ] && continue
    echo "pg_regress: no $file; apt-get install gcc dpkg-dev" \
        "postgresql-15 postgresql-server-dev-15" >&2
    exit 1
done
version=$(dpkg-query -W -f '${Version}' postgresql-15)

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
apt source --download-only "postgresql-15=$version"
rm -rf src suite
dpkg-source -x postgresql-15_*.dsc src >&2

mkdir suite
for name in sql expected data parallel_schedule resultmap; do
    mv "src/src/test/regress/$name" suite/
done
gcc -O2 -fPIC -shared -w -D_GNU_SOURCE -I $include -o suite/regress.so \
    src/src/test/regress/regress.c
cp $lib/refint.so $lib/autoinc.so suite/
rm -rf src
chmod -R a+rX .
touch suite/ready
