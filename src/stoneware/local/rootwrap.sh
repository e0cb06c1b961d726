# First process of a --read-only machine (sh -c, in the machine's own file system): puts an in-memory
# overlay over the image and goes on with its init. nspawn's own --volatile=overlay cannot do that with
# an id-mapped root.
set -e
work=/run/stoneware/overlay
mkdir -p $work
mount -t tmpfs -o mode=0755 tmpfs $work
mkdir $work/upper $work/work $work/root
mount -t overlay -o "lowerdir=/run/stoneware/lower,upperdir=$work/upper,workdir=$work/work" overlay $work/root
umount /run/stoneware/lower 2>/dev/null || :
for tree in proc sys dev run tmp; do
    mountpoint -q /$tree && mount --rbind /$tree $work/root/$tree
done
cd $work/root
mkdir -p run/stoneware
pivot_root . run/stoneware
exec chroot . /bin/sh -c 'umount -l /run/stoneware; exec /sbin/init' </dev/console >/dev/console 2>&1
