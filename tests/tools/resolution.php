<?php
// Resolves each case twice with the real Composer: from repositories of its own, and from the mirror.
//
//   php resolution.php CASES URL FOLDER
//
// CASES is the file of the cases by name. URL is the mirror's; its repository `N` has the packages of the Nth repository of
// all cases. FOLDER is for the project, the home and the cache.
// Prints a line for each difference, and the counts; exit 1 if there is one.
require '/usr/share/php/Composer/autoload.php';

use Composer\DependencyResolver\Request;
use Composer\Factory;
use Composer\Filter\PlatformRequirementFilter\PlatformRequirementFilterFactory;
use Composer\IO\BufferIO;
use Composer\IO\IOInterface;
use Composer\Installer;
use Composer\Installer\InstallationManager;
use Composer\Package\Loader\ArrayLoader;
use Composer\Package\PackageInterface;
use Composer\Repository\InstalledArrayRepository;
use Composer\Repository\InstalledRepositoryInterface;

/** Notes the operations instead of downloading and unpacking. */
final class RecordingManager extends InstallationManager
{
    /** @var list<string> */
    public array $operations = [];

    public function __construct()
    {
    }

    public function execute(InstalledRepositoryInterface $repo, array $operations, $devMode = true, $runScripts = true, $downloadOnly = false): void
    {
        foreach ($operations as $operation) {
            $this->operations[] = strip_tags((string) $operation);
            if ($operation->getOperationType() === 'update') {
                $repo->removePackage($operation->getInitialPackage());
                $package = $operation->getTargetPackage();
            } else {
                $package = $operation->getPackage();
            }
            if (in_array($operation->getOperationType(), ['uninstall', 'markAliasUninstalled'], true)) {
                $repo->removePackage($package);
            } elseif (!$repo->hasPackage($package)) {
                $repo->addPackage(clone $package);
            }
        }
    }

    public function isPackageInstalled(InstalledRepositoryInterface $repo, PackageInterface $package): bool
    {
        return $repo->hasPackage($package);
    }

    public function getInstallPath(PackageInterface $package): string
    {
        return 'vendor/' . $package->getName();
    }

    public function notifyInstalls(IOInterface $io): void
    {
    }
}

/** What Composer does in a case with these repositories: exit code, operations, and what it locks. */
function resolve(array $case, array $repositories, string $folder): array
{
    array_map('unlink', glob("$folder/composer.*"));
    $root = $case['root'];
    $root['repositories'] = [...$repositories, ['packagist.org' => false]];
    $root['config'] = ($root['config'] ?? []) + ['secure-http' => false];
    file_put_contents("$folder/composer.json", json_encode($root));
    if (isset($case['lock'])) {
        file_put_contents("$folder/composer.lock", json_encode($case['lock']));
    }
    chdir($folder);
    $io = new BufferIO();
    $manager = new RecordingManager();
    try {
        $composer = (new Factory())->createComposer($io, "$folder/composer.json", true, $folder, true);
        $composer->setInstallationManager($manager);
        $installed = new InstalledArrayRepository();
        foreach ($case['installed'] ?? [] as $package) {
            $installed->addPackage((new ArrayLoader())->load($package));
        }
        $composer->getRepositoryManager()->setLocalRepository($installed);
        $installer = Installer::create($io, $composer);
        $options = $case['options'] ?? [];
        $transitive = match (true) {
            isset($options['with-all-dependencies']) => Request::UPDATE_LISTED_WITH_TRANSITIVE_DEPS,
            isset($options['with-dependencies']) => Request::UPDATE_LISTED_WITH_TRANSITIVE_DEPS_NO_ROOT_REQUIRE,
            default => Request::UPDATE_ONLY_LISTED,
        };
        $ignored = $options['ignore-platform-reqs'] ?? $options['ignore-platform-req'] ?? false;
        $installer
            ->setDumpAutoloader(false)
            ->setDevMode(!isset($options['no-dev']))
            ->setDryRun(isset($options['dry-run']))
            ->setPlatformRequirementFilter(PlatformRequirementFilterFactory::fromBoolOrList($ignored));
        method_exists($installer, 'setAuditConfig')
            ? $installer->setAuditConfig(new \Composer\Advisory\AuditConfig(false))
            : $installer->setAudit(false);
        if ($case['command'] === 'update') {
            $installer
                ->setUpdate(true)
                ->setInstall(!isset($options['no-install']))
                ->setUpdateMirrors(isset($options['lock']))
                ->setUpdateAllowList($case['packages'] ?? [])
                ->setUpdateAllowTransitiveDependencies($transitive)
                ->setPreferStable(isset($options['prefer-stable']))
                ->setPreferLowest(isset($options['prefer-lowest']));
        }
        $exit = $installer->run();
    } catch (\Throwable $error) {
        $exit = get_class($error);
    }
    $locked = [];
    if (is_file("$folder/composer.lock")) {
        $lock = json_decode(file_get_contents("$folder/composer.lock"), true);
        foreach (['packages', 'packages-dev'] as $kind) {
            foreach ($lock[$kind] ?? [] as $package) {
                $locked[] = "$kind {$package['name']} {$package['version']}";
            }
        }
    }
    return ['exit' => $exit, 'operations' => $manager->operations, 'locked' => $locked, 'output' => $io->getOutput()];
}

[, $file, $url, $folder] = $argv;
putenv('COMPOSER_ROOT_VERSION=1.0.0');
putenv("COMPOSER_HOME=$folder/home");
putenv("COMPOSER_CACHE_DIR=$folder/cache");
@mkdir("$folder/project", 0777, true);
error_reporting(E_ALL & ~E_DEPRECATED);
$different = $expected = 0;
$cases = json_decode(file_get_contents($file), true);
foreach ($cases as $name => $case) {
    $own = $mirrored = [];
    foreach ($case['repositories'] as $number => $repository) {
        $packages = $repository['packages'];
        unset($repository['packages']);
        $own[] = ['type' => 'package', 'package' => $packages] + $repository;
        $mirrored[] = ['type' => 'composer', 'url' => "$url/$number/"] + $repository;
    }
    $own = resolve($case, $own, "$folder/project");
    $mirrored = resolve($case, $mirrored, "$folder/project");
    $report = static function (string $what, array $result, array $instead) use (&$different): void {
        $different++;
        unset($instead['output']);
        echo "$what: ", json_encode($result, JSON_UNESCAPED_SLASHES), "\n    instead of ", json_encode($instead, JSON_UNESCAPED_SLASHES), "\n";
    };
    if (isset($case['expect'])) {
        $expected++;
        if ($own['exit'] !== $case['expect']['exit'] || $own['operations'] !== $case['expect']['operations']) {
            $report("$name, own", $own, $case['expect']);
        }
    }
    foreach (['exit', 'operations', 'locked'] as $key) {
        if ($mirrored[$key] !== $own[$key]) {
            $report("$name, $key", $mirrored, $own);
            break;
        }
    }
}
echo count($cases), " cases, $expected with expected operations, $different different\n";
exit($different === 0 && $cases ? 0 : 1);
