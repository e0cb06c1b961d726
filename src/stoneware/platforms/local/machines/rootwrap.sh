# First process of a --read-only machine (sh -c, in the machine's own file system): puts an in-memory
# overlay over the image and goes on with $1, which starts its init. nspawn's own --volatile=overlay cannot do that with
# an id-mapped root.
set -e
exec </dev/null >/dev/console 2>&1
work=/mnt
mount --make-rprivate / # a shared root cannot be pivoted
mount -t tmpfs -o mode=0755 tmpfs $work
mkdir $work/upper $work/work $work/root
mount -t overlay -o "lowerdir=/run/stoneware/lower,upperdir=$work/upper,workdir=$work/work" overlay $work/root
for tree in proc sys dev run tmp; do
    if mountpoint -q /$tree; then mount --rbind /$tree $work/root/$tree; fi
done
cd $work/root
pivot_root . mnt
exec chroot . /bin/sh -c "umount -l /mnt; mount --make-rshared /; $1" </dev/console
