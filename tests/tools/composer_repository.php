<?php
// Makes Composer repositories of a folder of archives, by Composer's own classes, or compares two repositories as Composer reads them.
//
//   php composer_repository.php make ARCHIVES OUT URL    OUT/{inline,includes,lazy,providers}/packages.json, below URL
//   php composer_repository.php compare ONE OTHER        prints a line for each difference; exit 1 if there is one
require '/usr/share/php/Composer/autoload.php';

use Composer\Config;
use Composer\EventDispatcher\EventDispatcher;
use Composer\Factory;
use Composer\IO\NullIO;
use Composer\MetadataMinifier\MetadataMinifier;
use Composer\Package\AliasPackage;
use Composer\Package\Dumper\ArrayDumper;
use Composer\Repository\ArtifactRepository;
use Composer\Repository\ComposerRepository;

function write(string $path, array $document): string
{
    @mkdir(dirname($path), 0777, true);
    $text = json_encode($document, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
    file_put_contents($path, $text);
    return $text;
}

function make(string $archives, string $out, string $url): void
{
    $packages = [];
    foreach ((new ArtifactRepository(['url' => $archives], new NullIO()))->getPackages() as $package) {
        $file = basename($package->getDistUrl());
        $data = (new ArrayDumper())->dump($package);
        $data['dist']['url'] = "$url/dist/$file";
        @mkdir("$out/dist", 0777, true);
        copy("$archives/$file", "$out/dist/$file");
        $packages[$package->getName()][$package->getPrettyVersion()] = $data;
    }
    ksort($packages);
    $path = parse_url($url, PHP_URL_PATH) ?? '';
    write("$out/inline/packages.json", ['packages' => $packages]);

    $text = write("$out/includes/all.json", ['packages' => $packages]);
    $include = 'include/all$' . sha1($text) . '.json';
    @mkdir("$out/includes/include");
    rename("$out/includes/all.json", "$out/includes/$include");
    write("$out/includes/packages.json", ['packages' => [], 'includes' => [$include => ['sha1' => sha1($text)]]]);

    $providers = [];
    foreach ($packages as $name => $versions) {
        $minified = MetadataMinifier::minify(array_values($versions));
        write("$out/lazy/p2/$name.json", ['packages' => [$name => $minified], 'minified' => 'composer/2.0']);
        $uid = 1;
        foreach ($versions as &$version) {
            $version['uid'] = $uid++;
        }
        $text = write("$out/providers/p/$name.json", ['packages' => [$name => $versions]]);
        $hash = hash('sha256', $text);
        rename("$out/providers/p/$name.json", "$out/providers/p/$name\$$hash.json");
        $providers[$name] = ['sha256' => $hash];
    }
    write("$out/lazy/packages.json", [
        'packages' => [],
        'metadata-url' => "$path/lazy/p2/%package%.json",
        'available-packages' => array_keys($packages),
    ]);
    $text = write("$out/providers/p/all.json", ['providers' => $providers]);
    $hash = hash('sha256', $text);
    rename("$out/providers/p/all.json", "$out/providers/p/all\$$hash.json");
    write("$out/providers/packages.json", [
        'packages' => [],
        'providers-url' => "$path/providers/p/%package%\$%hash%.json",
        'provider-includes' => ['p/all$%hash%.json' => ['sha256' => $hash]],
    ]);
}

/** The versions of all packages as Composer loads them, but for what differs by design. */
function load(string $url, array $names): array
{
    $config = new Config(false);
    $config->merge(['config' => ['secure-http' => false, 'cache-dir' => sys_get_temp_dir() . '/none-' . getmypid(), 'cache-read-only' => true]]);
    $io = new NullIO();
    $repository = new ComposerRepository(['url' => $url], $io, $config, Factory::createHttpDownloader($io, $config));
    $versions = [];
    foreach ($names as $name) {
        foreach ($repository->findPackages($name) as $package) {
            if ($package instanceof AliasPackage) {
                continue;
            }
            $data = (new ArrayDumper())->dump($package);
            $data['dist'] = $data['dist']['shasum'] ?? null;
            unset($data['time'], $data['published-time'], $data['notification-url'], $data['uid'], $data['source'], $data['installation-source'], $data['scripts'], $data['archive']);
            ksort($data);
            $versions["$name " . $package->getPrettyVersion()] = $data;
        }
    }
    ksort($versions);
    return $versions;
}

if ($argv[1] === 'make') {
    make($argv[2], $argv[3], $argv[4]);
    exit;
}
$names = array_keys(json_decode(file_get_contents($argv[4]), true)['packages']);
[$one, $other] = [load($argv[2], $names), load($argv[3], $names)];
$different = 0;
foreach ($one + $other as $version => $_) {
    if (($one[$version] ?? null) !== ($other[$version] ?? null)) {
        $different++;
        echo "$version: ", json_encode($one[$version] ?? null), ' instead of ', json_encode($other[$version] ?? null), "\n";
    }
}
echo count($one), " versions, $different different\n";
exit(count($one) > 0 && $different === 0 ? 0 : 1);
