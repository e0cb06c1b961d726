# perl ready_filters.pl FILE CALL COMMAND…: become COMMAND with the seccomp filters that are in FILE (ready_filters.py). CALL is
# the number of seccomp(2) here. systemd-nspawn is told to make none of its own; where one cannot be loaded it is not,
# and makes all of them, above those that have been loaded already. Nothing is ever started with fewer.
sub filters { # what is in a file, each with its flags; nothing where it is not whole
    my ($text) = @_;
    return () if length($text) < 44;
    my ($magic, $count) = unpack('a8 x32 L', $text);
    return () if $magic ne "swbpf-1\n";
    my ($place, @found) = (44);
    for (1 .. $count) {
        return () if length($text) < $place + 8;
        my ($flags, $length) = unpack('L L', substr($text, $place, 8));
        return () if $length < 8 || $length % 8 || length($text) < $place + 8 + $length;
        push @found, [$flags, substr($text, $place + 8, $length)];
        $place += 8 + $length;
    }
    return $place == length($text) ? @found : ();
}

sub load {
    my ($call, $flags, $code) = @_;
    # struct sock_fprog; 1 is SECCOMP_SET_MODE_FILTER
    my $program = pack('S x![P] P', length($code) / 8, $code);
    return syscall($call, 1, $flags, $program) == 0;
}

my ($file, $call) = splice(@ARGV, 0, 2);
my $text = '';
if (open(my $stream, '<:raw', $file)) {
    local $/;
    $text = <$stream> // '';
    close($stream);
}
my @filters = filters($text);
my $loaded = 0;
for my $filter (@filters) {
    last if !load($call + 0, @$filter);
    $loaded++;
}
$ENV{SYSTEMD_SECCOMP} = 0 if $loaded && $loaded == @filters;
exec { $ARGV[0] } @ARGV or exit 127;
