use strict;
use warnings;
use lib $0 =~ m{(.*)/};
use Rune;

sub kind {
    my ($value) = @_;
    return 'null' if !defined $value;
    my %kinds = ( HASH => 'object', ARRAY => 'array', 'Rune::Boolean' => 'boolean' );
    return $kinds{ ref $value } if $kinds{ ref $value };
    return Rune::encode($value) =~ /\A"/ ? 'string' : 'number';
}

Rune::run( sub {
    my ($what) = Rune::param('do');
    return { value => Rune::param('value') } if $what eq 'walk';
    if ( $what eq 'get' ) {
        my ($path)  = Rune::param('path');
        my @found   = Rune::param(@$path);
        return { type => 'missing' } if !@found;
        return { type => kind(@found), value => $found[0] };
    }
    if ( $what eq 'fail' ) {
        my %more = map { my ($value) = Rune::param($_); defined $value ? ( $_ => $value ) : () }
            qw(details retryable);
        Rune::fail( Rune::param('code'), Rune::param('message'), %more );
    }
    if ( $what eq 'events' ) {
        my ($message) = Rune::param('message');
        Rune::progress( 12.5, $message );
        Rune::log( 'warning', $message );
        Rune::metric( 'busbw', 412.5, 'GB/s', 'higher',
            labels => { device => $message, kind => 'a' }, samples => [ 411, 414 ] );
        Rune::metric( 'latency', 7, 'us', 'lower' );
        return {};
    }
    return { left => Rune::left(), target => Rune::context('target') } if $what eq 'left';
    if ( $what eq 'bytes' ) {
        open my $file, '<:raw', 'bytes' or die "bytes: $!\n";
        my $bytes = do { local $/; <$file> };
        close $file;
        return { text => Rune::text($bytes) };
    }
    die "$what\n";
} );
