<?php
// Compares the mirror's metadata with what Composer makes of the same archives.
//
//   php metadata.php REPOSITORY
//
// REPOSITORY is a repository's folder on the data volume. Prints a line for each difference; exit 1 if there is one.
require '/usr/share/php/Composer/autoload.php';

use Composer\MetadataMinifier\MetadataMinifier;
use Composer\Package\Dumper\ArrayDumper;
use Composer\Package\Loader\ArrayLoader;
use Composer\Package\Package;

$root = $argv[1];
$compared = $different = 0;
foreach (json_decode(file_get_contents("$root/current/packages.json"), true)['available-packages'] as $name) {
    foreach (["$name.json", "$name~dev.json"] as $file) {
        $document = json_decode(file_get_contents("$root/current/p2/$file"), true);
        $versions = $document['packages'][$name];
        $expanded = MetadataMinifier::expand($versions);
        if (MetadataMinifier::minify($expanded) !== $versions) {
            $different++;
            echo "$name: $file is not what Composer's minifier makes of its versions\n";
        }
        foreach ($expanded as $ours) {
            $zip = new ZipArchive();
            $archive = $root . strstr($ours['dist']['url'], '/packages/');
            $zip->open($archive);
            $config = json_decode($zip->getFromName('composer.json'), true);
            $config['dist'] = ['type' => 'zip', 'url' => $ours['dist']['url'], 'shasum' => sha1_file($archive)];
            $config['time'] = $ours['time'];
            if (method_exists(Package::class, 'getPublishedDate')) {
                $config['published-time'] = $ours['published-time'];
            } else {
                unset($ours['published-time']);
            }
            $theirs = (new ArrayDumper())->dump((new ArrayLoader())->load($config));
            $compared++;
            // A key that comes back after a version without it stands last in the expanded form.
            ksort($ours);
            ksort($theirs);
            if ($ours !== $theirs) {
                $different++;
                foreach (array_unique(array_merge(array_keys($ours), array_keys($theirs))) as $key) {
                    if (($ours[$key] ?? null) !== ($theirs[$key] ?? null)) {
                        echo "$name {$ours['version']} $key: ", json_encode($ours[$key] ?? null), ' instead of ', json_encode($theirs[$key] ?? null), "\n";
                    }
                }
            }
        }
    }
}
echo "$compared compared, $different different\n";
exit($compared > 0 && $different === 0 ? 0 : 1);
