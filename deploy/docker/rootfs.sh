#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a root file system with the given programs and the libraries that they load, nothing else.
#   rootfs.sh PROGRAM... FOLDER
# For each package of a library it also writes /var/lib/dpkg/status.d/<package>, which image
# scanners read in images without a package manager, and /usr/share/doc/<package>/copyright; and
# rankd's own licence and notices.
set -eu
source=$(dirname "$0")/../..
programs=""
while [ $# -gt 1 ]; do programs="$programs $1"; shift; done
root=$1

mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/etc" "$root/var/lib/dpkg/status.d" "$root/run"
ln -sfn usr/lib "$root/lib"
ln -sfn usr/lib64 "$root/lib64"
cp $programs "$root/usr/bin/"

notices() {
    mkdir -p "$root/usr/share/doc/$1"
    cp -L "/usr/share/doc/$1/copyright" "$root/usr/share/doc/$1/"
}
mkdir -p "$root/usr/share/doc/rankd"
cp "$source/LICENSE" "$source/NOTICE" "$root/usr/share/doc/rankd/"
notices libmicrohttpd-dev # linked statically

# ldd prints "name => path (address)", and the loader alone as "path (address)".
origins=""
for library in $(ldd $programs | awk '$2 == "=>" && $3 ~ "^/" {print $3} $1 ~ "^/.*ld-linux" {print $1}' | sort -u); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library" # the alternatives' links are followed: the name that is asked for holds the file
    real=$(readlink -f "$library")
    origins="$origins $real ${real#/usr}"
done
# One look-up for all libraries, because each reads the file lists of all packages. dpkg knows only
# one of the two paths of a file.
for package in $(dpkg -S $origins 2>/dev/null | sed 's/[:,].*//' | sort -u); do
    dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
    notices "$package"
done

printf 'root:x:0:0:root:/:/sbin/nologin\nrankd:x:10001:10001:rankd:/var/lib/rankd:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nrankd:x:10001:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf 'NAME="rankd"\nID=rankd\nPRETTY_NAME="rankd on Debian libraries"\n' >"$root/etc/os-release"
