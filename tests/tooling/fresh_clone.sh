#!/usr/bin/env bash
# Proves that a clone needs nothing but Debian 12 with python3, pip and apt: makes such a machine
# twice (debootstrap, chroot), clones the repository into it and runs ./dev there, once as root
# and once as a user who may not install anything. Takes minutes, root and Debian's packages.
#
#   tests/tooling/fresh_clone.sh                       ./dev demo, then ./dev test
#   tests/tooling/fresh_clone.sh './dev lint' './dev test -k pan'
#   AS=root tests/tooling/fresh_clone.sh 'bash .ci/run'
# BASE=/var/tmp/base keeps the bare machine there for the next time.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d /var/tmp/fresh-clone.XXXXXX)
trap 'rm -rf --one-file-system "$scratch"' EXIT
base=${BASE:-$scratch/base}

if [[ ! -e $base/etc/debian_version ]]; then
  command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >/dev/null
  debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates \
    bookworm "$base" >"$scratch/debootstrap.log"
fi

# The machine's ways out: its resolver, its certificates, what it tells pip, uv and proxies.
passed=()
while IFS= read -r -d '' pair; do
  [[ $pair =~ ^(PIP_|UV_|SSL_CERT_|[A-Za-z]+_[Pp][Rr][Oo][Xx][Yy]=|CI=) ]] && passed+=("$pair")
done < <(env -0)

machine() { # machine NAME: a new one, with a clone owned by uid 1000 if NAME is "user"
  cp -a "$base" "$scratch/$1"
  cp /etc/resolv.conf "$scratch/$1/etc/"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$scratch/$1/etc/hosts" # an installer's work, not debootstrap's
  cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/$1/etc/ssl/certs/"
  rm -rf "$scratch/$1"/var/lib/apt/lists/* # the harder case, as in container images
  git clone --quiet "$repository" "$scratch/$1/srv/pinvault"
  if [[ $1 == user ]]; then
    chroot "$scratch/$1" useradd --create-home --uid 1000 someone
    chown -R 1000:1000 "$scratch/$1/srv/pinvault"
  fi
}

inside() { # inside NAME UID COMMAND…: with mounts that end with the command
  local root=$scratch/$1 uid=$2 home=/root
  shift 2
  [[ $uid == 0 ]] || home=/home/someone
  unshare --mount --propagation private --fork bash -c '
    mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "${@:2}"' - \
    "$root" --userspec="$uid:$uid" "$root" env -i "${passed[@]}" \
    HOME="$home" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c 'cd /srv/pinvault && exec "$@"' - "$@" </dev/null
}

(($#)) || set -- './dev demo' './dev test'
failed=0
for who in ${AS:-root user}; do
  uid=0
  [[ $who == root ]] || uid=1000
  machine "$who"
  for line in "$@"; do
    read -ra words <<<"$line"
    for round in first again; do
      began=$(date +%s%N)
      verdict=ok
      inside "$who" "$uid" "${words[@]}" || verdict=FAILED
      [[ $verdict == ok ]] || failed=1
      took=$((($(date +%s%N) - began) / 1000000))
      echo "fresh clone, as $who: $line, $round: $verdict, $took ms"
    done
  done
done
exit "$failed"
