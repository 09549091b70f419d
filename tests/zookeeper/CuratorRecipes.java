import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.BoundedExponentialBackoffRetry;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.data.Stat;

/**
 * Curator's recipes, used by two clients. Says READY when all are in use, and goes on when a line comes in: what is in
 * use then has to live through what happens to the servers in between. Ends with an exception if anything is not as it
 * should be, else with the word DONE.
 */
@SuppressWarnings("deprecation")  // the caches of old are what programs have
public class CuratorRecipes {
    static CuratorFramework a;
    static CuratorFramework b;

    static CuratorFramework client(String hosts) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(hosts).sessionTimeoutMs(10_000)
            .connectionTimeoutMs(5_000).retryPolicy(new BoundedExponentialBackoffRetry(50, 500, 30)).build();
        client.start();
        client.blockUntilConnected();
        return client;
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void until(Callable<Boolean> holds, String what) throws Exception {
        for (long end = System.currentTimeMillis() + 30_000; !holds.call(); Thread.sleep(20)) {
            check(System.currentTimeMillis() < end, "waited for: " + what);
        }
    }

    static void nodes() throws Exception {
        a.create().creatingParentsIfNeeded().forPath("/app/x", "1".getBytes());
        a.create().creatingParentContainersIfNeeded().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/box/n-");
        a.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/app/p-");
        a.create().withTtl(100_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/app/ttl");
        a.create().orSetData().forPath("/app/x", "2".getBytes());
        Stat stat = new Stat();
        check(data(a.getData().storingStatIn(stat).forPath("/app/x")).equals("2") && stat.getVersion() == 1, "data");
    }

    static void transactions() throws Exception {
        List<CuratorTransactionResult> results = a.transaction().forOperations(
            a.transactionOp().create().forPath("/app/t", "x".getBytes()),
            a.transactionOp().check().withVersion(1).forPath("/app/x"),
            a.transactionOp().setData().forPath("/app/t", "y".getBytes()),
            a.transactionOp().delete().forPath("/app/t"));
        check(results.get(0).getResultPath().equals("/app/t"), "what was created");
        check(results.get(2).getResultStat().getVersion() == 1, "the stat of what was set");
        try {
            a.transaction().forOperations(
                a.transactionOp().create().forPath("/app/t"),
                a.transactionOp().check().withVersion(9).forPath("/app/x"));
            check(false, "a transaction that fails");
        } catch (KeeperException.BadVersionException error) {
            check(error.getResults().size() == 2, "what became of each operation");
        }
        check(a.checkExists().forPath("/app/t") == null, "nothing is left of a transaction that failed");
    }

    static String data(byte[] bytes) {
        return new String(bytes);
    }

    public static void main(String[] arguments) throws Exception {
        a = client(arguments[0]);
        b = client(arguments[0]);
        nodes();
        transactions();

        InterProcessMutex mutexA = new InterProcessMutex(a, "/mutex");
        InterProcessMutex mutexB = new InterProcessMutex(b, "/mutex");
        mutexB.acquire();
        mutexB.acquire();
        check(!mutexA.acquire(100, TimeUnit.MILLISECONDS), "a mutex excludes");
        mutexB.release();

        LeaderLatch first = new LeaderLatch(a, "/latch", "first");
        LeaderLatch second = new LeaderLatch(b, "/latch", "second");
        first.start();
        first.await();
        second.start();
        until(() -> first.getParticipants().size() == 2, "both take part");
        check(first.hasLeadership() && !second.hasLeadership(), "one leads");

        AtomicInteger reigns = new AtomicInteger();
        LeaderSelector selector = new LeaderSelector(a, "/selector", new LeaderSelectorListenerAdapter() {
            public void takeLeadership(CuratorFramework client) throws Exception {
                reigns.incrementAndGet();
                Thread.sleep(20);
            }
        });
        selector.autoRequeue();
        selector.start();
        until(() -> reigns.get() > 2, "leadership is taken again and again");

        PathChildrenCache children = new PathChildrenCache(b, "/app", true);
        children.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        check(children.getCurrentData().size() == 3, "all children");
        CuratorCache cache = CuratorCache.build(b, "/app");
        cache.start();
        TreeCache tree = new TreeCache(b, "/app");
        tree.start();
        NodeCache node = new NodeCache(b, "/app/x");
        node.start(true);
        AtomicInteger seen = new AtomicInteger();
        PersistentWatcher watcher = new PersistentWatcher(b, "/app", true);
        watcher.getListenable().addListener(event -> seen.incrementAndGet());
        watcher.start();

        PersistentNode kept = new PersistentNode(a, CreateMode.EPHEMERAL, false, "/kept", "data".getBytes());
        kept.start();
        check(kept.waitForInitialCreate(30, TimeUnit.SECONDS), "a node that is kept");
        PersistentTtlNode touched = new PersistentTtlNode(a, "/touched", 20_000, new byte[0]);
        touched.start();
        check(touched.waitForInitialCreate(30, TimeUnit.SECONDS), "a node that is touched");

        BlockingQueue<String> consumed = new LinkedBlockingQueue<>();
        DistributedQueue<String> queue = QueueBuilder.builder(b, new QueueConsumer<String>() {
            public void consumeMessage(String message) {
                consumed.add(message);
            }

            public void stateChanged(CuratorFramework client, ConnectionState state) {}
        }, new QueueSerializer<String>() {
            public byte[] serialize(String message) {
                return message.getBytes();
            }

            public String deserialize(byte[] bytes) {
                return data(bytes);
            }
        }, "/queue").lockPath("/queue-locks").buildQueue();
        queue.start();
        queue.put("before");
        check("before".equals(consumed.poll(30, TimeUnit.SECONDS)), "what was put is consumed");

        SharedCount count = new SharedCount(a, "/count", 7);
        count.start();
        count.setCount(8);
        DistributedAtomicLong number = new DistributedAtomicLong(a, "/number", new RetryNTimes(10, 10));
        number.increment();
        check(number.increment().postValue() == 2, "a number");
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(a, "/semaphore", 1);
        semaphore.acquire();
        check(semaphore.acquire(100, TimeUnit.MILLISECONDS) == null, "a semaphore has an end");
        InterProcessReadWriteLock lockA = new InterProcessReadWriteLock(a, "/read-write");
        InterProcessReadWriteLock lockB = new InterProcessReadWriteLock(b, "/read-write");
        lockA.readLock().acquire();
        check(lockB.readLock().acquire(30, TimeUnit.SECONDS), "readers share");
        check(!lockB.writeLock().acquire(100, TimeUnit.MILLISECONDS), "a writer waits for readers");
        GroupMember memberA = new GroupMember(a, "/group", "a");
        GroupMember memberB = new GroupMember(b, "/group", "b");
        memberA.start();
        memberB.start();
        until(() -> memberA.getCurrentMembers().size() == 2, "members know each other");

        System.out.println("READY");
        System.in.read();

        a.setData().forPath("/app/x", "3".getBytes());
        until(() -> data(node.getCurrentData().getData()).equals("3"), "NodeCache");
        until(() -> data(tree.getCurrentData("/app/x").getData()).equals("3"), "TreeCache");
        until(() -> data(children.getCurrentData("/app/x").getData()).equals("3"), "PathChildrenCache");
        until(() -> cache.get("/app/x").map(found -> data(found.getData()).equals("3")).orElse(false), "CuratorCache");
        until(() -> seen.get() > 0, "PersistentWatcher");
        check(a.checkExists().forPath("/kept") != null, "a node that is kept is there");
        check(!mutexA.acquire(100, TimeUnit.MILLISECONDS), "the mutex is held");
        mutexB.release();
        check(mutexA.acquire(30, TimeUnit.SECONDS), "the mutex is free");
        until(() -> first.hasLeadership() != second.hasLeadership(), "one leads");
        LeaderLatch other = first.hasLeadership() ? second : first;
        (other == first ? second : first).close();
        until(other::hasLeadership, "the other leads");
        int before = reigns.get();
        until(() -> reigns.get() > before, "leadership goes on being taken");
        queue.put("after");
        check("after".equals(consumed.poll(30, TimeUnit.SECONDS)), "what is put is consumed");
        until(() -> count.getCount() == 8, "a count is kept");
        check(number.get().postValue() == 2, "a number is kept");
        DistributedDoubleBarrier barrierA = new DistributedDoubleBarrier(a, "/barrier", 2);
        DistributedDoubleBarrier barrierB = new DistributedDoubleBarrier(b, "/barrier", 2);
        Future<Boolean> passed = Executors.newSingleThreadExecutor().submit(() ->
            barrierA.enter(30, TimeUnit.SECONDS) && barrierA.leave(30, TimeUnit.SECONDS));
        check(barrierB.enter(30, TimeUnit.SECONDS) && barrierB.leave(30, TimeUnit.SECONDS), "a barrier is passed");
        check(passed.get(), "by both");
        children.close();  // it would create its node again
        a.delete().deletingChildrenIfNeeded().forPath("/app");
        until(() -> cache.size() == 0, "what is gone is gone from a cache");
        System.out.println("DONE");
        System.exit(0);
    }
}
