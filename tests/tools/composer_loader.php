<?php
// What Composer makes of constraints, versions, manifests and the metadata of these, one case a line as JSON in standard input.
//
//   php composer_loader.php
//
// The Composer is the first one in PHP's include path. A case has a `text`, which is read as a constraint and as a version, normalized
// `versions` that it may allow, a `manifest`,
// and, if the mirror publishes it, the metadata's `entry` and the names of the fields that are `omitted` from it. The answer says for the
// text what it is, whether types are strict, why Composer refuses the manifest, and what is wrong with the entry; null is nothing.
require 'Composer/autoload.php';

use Composer\Autoload\AutoloadGenerator;
use Composer\Installer\SuggestedPackagesReporter;
use Composer\IO\NullIO;
use Composer\Package\AliasPackage;
use Composer\Package\CompletePackage;
use Composer\Package\Dumper\ArrayDumper;
use Composer\Package\Loader\ArrayLoader;
use Composer\Package\Loader\InvalidPackageException;
use Composer\Package\Loader\ValidatingArrayLoader;
use Composer\Package\RootPackage;
use Composer\Semver\Constraint\Constraint;
use Composer\Semver\VersionParser;
use Composer\Util\ErrorHandler;

// Composer's own turns warnings into exceptions.
ErrorHandler::register();

function refusal(callable $load)
{
    try {
        $load();
        return null;
    } catch (InvalidPackageException $error) {
        return implode('; ', $error->getErrors());
    } catch (Throwable $error) {
        return get_class($error) . ': ' . $error->getMessage();
    }
}

/** What an update and an installation do with the data of a version. */
function install(array $data)
{
    $loader = new ArrayLoader();
    $loader->load($data);
    [$package] = $loader->loadPackages([$data], CompletePackage::class);
    (new ValidatingArrayLoader($loader))->load($data);
    if (method_exists(ValidatingArrayLoader::class, 'validatePackage')) {
        ValidatingArrayLoader::validatePackage($package);
    }
    (new SuggestedPackagesReporter(new NullIO()))->addSuggestionsFromPackage($package);
    $generator = (new ReflectionClass(AutoloadGenerator::class))->newInstanceWithoutConstructor();
    $generator->parseAutoloads([[$package, '/vendor/package']], new RootPackage('__root__', '1.0.0.0', '1.0.0'));
    foreach ($package->getIncludePaths() as $path) {
        if (!is_string($path)) {
            throw new TypeError('the generator of include paths takes strings only');
        }
    }
    return $package;
}

/** The keys that are not as ArrayDumper writes them. */
function differences(array $entry, array $manifest)
{
    // Who publishes a package says where it is, and when it was made.
    $own = ['source', 'dist', 'time', 'published-time', 'default-branch', 'notification-url', 'installation-source', 'transport-options'];
    // Not every Composer has them.
    foreach (['php-ext' => 'getPhpExt', 'published-time' => 'getPublishedDate'] as $key => $method) {
        if (!method_exists(RootPackage::class, $method)) {
            unset($entry[$key]);
        }
    }
    $manifest = array_intersect_key($entry, array_flip($own)) + array_diff_key($manifest, array_flip($own), ['version_normalized' => 1]);
    $package = (new ArrayLoader())->load($manifest);
    $theirs = (new ArrayDumper())->dump($package instanceof AliasPackage ? $package->getAliasOf() : $package);
    // Before 2.3, numbers stay numbers.
    if (isset($theirs['keywords'])) {
        $theirs['keywords'] = array_map('strval', $theirs['keywords']);
    }
    // Composer cleans the path when it reads it; whether it writes an empty one depends on its version.
    $theirs['target-dir'] = $package->getTargetDir() ?: null;
    $entry['target-dir'] = isset($entry['target-dir']) ? $theirs['target-dir'] : null;
    $keys = array_keys($entry + $theirs);
    return array_filter($keys, fn ($key) => ($entry[$key] ?? null) !== ($theirs[$key] ?? null));
}

$parser = new VersionParser();
while (($line = fgets(STDIN)) !== false) {
    $case = json_decode($line, true);
    $version = null;
    $answer = [
        'constraint' => refusal(fn () => $parser->parseConstraints($case['text'])) === null,
        'refusal' => refusal(fn () => install($case['manifest'])),
        'entry' => null,
        // Before 2.3, PHP turns a value of another type into the one that is wanted.
        'strict' => (new ReflectionMethod(ArrayLoader::class, 'load'))->hasReturnType(),
    ];
    refusal(function () use ($parser, $case, &$version) {
        $version = $parser->normalize($case['text']);
    });
    $answer['version'] = $version;
    $allowed = null;
    refusal(function () use ($parser, $case, &$allowed) {
        $constraint = $parser->parseConstraints($case['text']);
        $allows = fn ($version) => $constraint->matches(new Constraint('==', $version));
        $allowed = array_values(array_filter($case['versions'], $allows));
    });
    $answer['allowed'] = $allowed;
    if ($case['entry'] !== null) {
        $answer['entry'] = refusal(function () use ($case) {
            install($case['entry']);
            $manifest = $case['manifest'];
            foreach ($case['omitted'] as $field) {
                if ($field === 'extra.branch-alias') {
                    unset($manifest['extra']['branch-alias']);
                } else {
                    unset($manifest[$field]);
                }
            }
            if ($keys = differences($case['entry'], $manifest)) {
                throw new UnexpectedValueException('not as ArrayDumper writes it: ' . implode(', ', $keys));
            }
        });
    }
    echo json_encode($answer, JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR), "\n";
}
