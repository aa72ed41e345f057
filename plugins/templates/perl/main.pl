# Counts the names in a directory. Scalar parameters come as RUNE_PARAM_<NAME>.
use strict;
use warnings;

my $path = $ENV{RUNE_PARAM_PATH};
my $directory;
if ( !opendir $directory, $path ) {
    print '{"error":{"code":3,"message":"there is no such directory, or it may not be read"}}', "\n";
    exit 3;
}
my $entries = grep { $_ ne '.' && $_ ne '..' } readdir $directory;
print '{"payload":{"result":"success","output_data":{"entries":', $entries, "}}}\n";
