# What a Perl plugin needs to talk to RUNE, with perl 5.10 and no module that perl-base lacks.
#
# Put "lib": ["Rune.pm"] into plugin.json and write:
#
#   use lib $0 =~ m{(.*)/}; use Rune;
#   Rune::run( sub { Rune::progress( 50, 'half way' ); return { path => Rune::param('path') } } );
#
# Text is characters. JSON's true and false are Rune::TRUE and Rune::FALSE, null is undef. A scalar
# goes out as a number if it is one in Perl; a number that Perl cannot hold exactly keeps its digits.
package Rune;
use strict;
use warnings;

{
    package Rune::Boolean;
    use overload '0+' => sub { ${ $_[0] } }, 'bool' => sub { ${ $_[0] } }, fallback => 1;
}
{
    package Rune::Number;
    use overload '""' => sub { ${ $_[0] } }, '0+' => sub { no warnings; 0 + ( '' . ${ $_[0] } ) },
        fallback => 1;
}

use constant TRUE  => bless( \( my $true  = 1 ), 'Rune::Boolean' );
use constant FALSE => bless( \( my $false = 0 ), 'Rune::Boolean' );

my $started = time;
my ( $request, @metrics );
our $VALID;    # a pattern for characters of UTF-8

# -- reading -------------------------------------------------------------------------------------

# The whole request, read from stdin once.
sub request {
    return $request if defined $request;
    binmode STDIN;
    my $text = do { local $/; <STDIN> };
    $text = '' if !defined $text;
    my $read = eval { decode($text) };
    fail( 1, 'stdin has no object payload.input_parameters' )
        if ref $read ne 'HASH'
        || ref $read->{payload} ne 'HASH'
        || ref $read->{payload}{input_parameters} ne 'HASH';
    return $request = $read;
}

# The parameter that keys and indices lead to, as a list of one; an empty list if it is missing:
# my ($name) = Rune::param( 'disks', 0, 'name' );
sub param {
    my @path  = @_;
    my $value = request()->{payload}{input_parameters};
    for my $step (@path) {
        if ( ref $value eq 'HASH' && exists $value->{$step} ) { $value = $value->{$step} }
        elsif ( ref $value eq 'ARRAY' && $step =~ /\A\d+\z/ && $step < @$value ) {
            $value = $value->[$step];
        }
        else { return }
    }
    return $value;
}

# target, action, run_id, attempt, deadline or timeout_s
sub context {
    my ($name) = @_;
    my $context = request()->{payload}{context};
    return ref $context eq 'HASH' ? $context->{$name} : undef;
}

# The whole seconds until the host ends the plugin, undef if nobody said. Counted from the start, so that a
# wrong clock of the host does no harm.
sub left {
    my $timeout = context('timeout_s');
    return if !defined $timeout;
    my $left = $timeout - ( time() - $started );
    return $left > 0 ? $left : 0;
}

# -- the answer ----------------------------------------------------------------------------------

# Adds to output_data.metrics and tells RUNE at once; $better is higher or lower.
sub metric {
    my ( $name, $value, $unit, $better, %more ) = @_;    # %more: labels => {}, samples => []
    my %one = ( name => "$name", value => $value, unit => "$unit", better => "$better" );
    $one{labels} = { map { $_ => "$more{labels}{$_}" } keys %{ $more{labels} } } if $more{labels};
    _event( 'metric', %one );
    $one{samples} = $more{samples} if $more{samples};
    push @metrics, \%one;
    return \%one;
}

# How far the plugin is, 0 to 100, and some words; either may be undef.
sub progress {
    my ( $percent, $message ) = @_;
    return _event( 'progress', defined $percent ? ( percent => $percent ) : (),
        defined $message ? ( message => "$message" ) : () );
}

# $level is debug, info, warning or error.
sub log {
    my ( $level, $message ) = @_;
    return _event( 'log', level => $level, message => "$message" );
}

# Answers with the hash that the function returns, or with code 100 if it died, and exits.
sub run {
    my ($function) = @_;
    my $text = eval {
        my $output_data = $function->() || {};
        $output_data->{metrics} ||= \@metrics if @metrics;
        encode( { payload => { result => 'success', output_data => $output_data } } );
    };
    fail( 100, $@ =~ /\A\s*\z/ ? 'died' : $@ ) if !defined $text;
    return _answer( $text, 0 );
}

# Answers with an error and exits with $code; %more: details => {}, retryable => Rune::TRUE
sub fail {
    my ( $code, $message, %more ) = @_;
    return _answer( encode( { error => { code => 0 + $code, message => "$message", %more } } ), $code );
}

# What a command or a file gave, as characters; bytes that are none become U+FFFD.
sub text {
    my ($bytes) = @_;
    my $text = '';
    while ( $bytes =~ /\G(?:($VALID)|.)/gcso ) {
        my $good = $1;
        if   ( defined $good ) { utf8::decode($good); $text .= $good }
        else                   { $text .= "\x{fffd}" }
    }
    return $text;
}

sub _answer {
    my ( $text, $status ) = @_;
    binmode STDOUT;
    print {*STDOUT} "$text\n";
    close STDOUT;
    exit $status;
}

sub _event {
    my ( $kind, %fields ) = @_;
    print {*STDERR} '##rune ' . encode( { %fields, kind => $kind } ) . "\n";
    return;
}

# -- JSON ----------------------------------------------------------------------------------------

BEGIN {    # as RFC 3629 has them
    my $more = '[\x80-\xbf]';
    my $one  = join '|', '[\x00-\x7f]', "[\\xc2-\\xdf]$more", "\\xe0[\\xa0-\\xbf]$more",
        "[\\xe1-\\xec\\xee\\xef]$more$more", "\\xed[\\x80-\\x9f]$more",
        "\\xf0[\\x90-\\xbf]$more$more", "[\\xf1-\\xf3]$more$more$more",
        "\\xf4[\\x80-\\x8f]$more$more";
    $VALID = "(?:$one){1,1000}";
}

my %escape = ( '"' => '"', '\\' => '\\', '/' => '/', b => "\b", f => "\f", n => "\n", r => "\r",
    t => "\t" );

sub decode {    # BYTES: the value; dies where it is no JSON
    local $_ = $_[0];
    utf8::decode($_) or die "not UTF-8\n";
    pos = 0;
    my $value = _value();
    /\G[ \t\r\n]*\z/gc or die 'no JSON at ' . pos;
    return $value;
}

sub _value {
    /\G[ \t\r\n]*/gc;
    return _string() if /\G"/gc;
    if (/\G\{/gc) {
        my %value;
        return \%value if /\G[ \t\r\n]*\}/gc;
        do {
            /\G[ \t\r\n]*"/gc or die "no key\n";
            my $key = _string();
            /\G[ \t\r\n]*:/gc or die "no colon\n";
            $value{$key} = _value();
        } while (/\G[ \t\r\n]*,/gc);
        /\G[ \t\r\n]*\}/gc or die "no end of an object\n";
        return \%value;
    }
    if (/\G\[/gc) {
        my @value;
        return \@value if /\G[ \t\r\n]*\]/gc;
        do { push @value, _value() } while (/\G[ \t\r\n]*,/gc);
        /\G[ \t\r\n]*\]/gc or die "no end of an array\n";
        return \@value;
    }
    return TRUE  if /\Gtrue\b/gc;
    return FALSE if /\Gfalse\b/gc;
    return undef if /\Gnull\b/gc;    ## no critic (one value, never an empty list)
    /\G(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)/gc or die "no value\n";
    my ( $digits, $number ) = ( $1, 0 + $1 );
    return "$number" eq $digits ? $number : bless \$digits, 'Rune::Number';
}

sub _string {    # what follows a quote
    my $text = '';
    while (1) {
        $text .= $1 if /\G([^"\\]+)/gc;
        return $text if /\G"/gc;
        if (/\G\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/gc) {
            $text .= chr( 0x10000 + ( hex($1) - 0xd800 ) * 0x400 + hex($2) - 0xdc00 );
        }
        elsif (/\G\\u([0-9a-fA-F]{4})/gc) {
            $text .= ( hex($1) & 0xf800 ) == 0xd800 ? "\x{fffd}" : chr hex $1;
        }
        elsif ( /\G\\(.)/gc && exists $escape{$1} ) { $text .= $escape{$1} }
        else                                        { die "no end of a string\n" }
    }
}

sub encode {    # VALUE: its JSON, as ASCII
    my ($value) = @_;
    return 'null' if !defined $value;
    my $kind = ref $value;
    if ( $kind eq 'HASH' ) {
        return '{' . join( ',', map { _quoted($_) . ':' . encode( $value->{$_} ) } sort keys %$value ) . '}';
    }
    return '[' . join( ',', map { encode($_) } @$value ) . ']' if $kind eq 'ARRAY';
    return $$value ? 'true' : 'false' if $kind eq 'Rune::Boolean';
    return $$value if $kind eq 'Rune::Number';
    die "no JSON for $kind\n" if $kind;
    {
        # A number's xor with itself is 0, a text's is as many NUL; wide characters have no xor.
        no warnings 'numeric';
        return _quoted($value) if utf8::is_utf8($value) || ( $value ^ $value ) ne '0';
    }
    return "$value" if $value =~ /\A-?[0-9]+\z/;
    for my $digits ( 15 .. 17 ) {    # the shortest that reads back as the same number
        my $text = sprintf "%.${digits}g", $value;
        return $text if $text == $value;
    }
    die "no JSON for $value\n";
}

sub _quoted {
    my ($text) = @_;
    $text =~ s/(["\\])/\\$1/g;
    $text =~ s/([^\x20-\x7e])/_escaped(ord $1)/ge;
    return "\"$text\"";
}

sub _escaped {
    my ($code) = @_;
    $code = 0xfffd if $code > 0x10ffff || ( $code & ~0x7ff ) == 0xd800;
    return sprintf '\\u%04x', $code if $code < 0x10000;
    $code -= 0x10000;
    return sprintf '\\u%04x\\u%04x', 0xd800 + ( $code >> 10 ), 0xdc00 + ( $code & 0x3ff );
}

1;
