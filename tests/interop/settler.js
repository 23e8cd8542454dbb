// What happens when somebody sets Thunderbird up and keeps a large account in it; the third part of `reader`.

const { FetchConfig } = ChromeUtils.importESModule("resource:///modules/accountcreation/FetchConfig.sys.mjs");
const { AccountConfig } = ChromeUtils.importESModule("resource:///modules/accountcreation/AccountConfig.sys.mjs");
const { CreateInBackend } = ChromeUtils.importESModule("resource:///modules/accountcreation/CreateInBackend.sys.mjs");

Object.assign(globalThis.reader, {
  // Address and password typed into the assistant: find the settings at the provider and make the account of them.
  // `port`: where autoconfig.<domain>, port 80, is here.
  async setUp(user, password, port, folders) {
    const domain = user.split("@")[1];
    Services.prefs.setIntPref("network.proxy.type", 1);
    Services.prefs.setCharPref("network.proxy.http", "127.0.0.1");
    Services.prefs.setIntPref("network.proxy.http_port", port);
    const config = await FetchConfig.fromISP(domain, user, new AbortController().signal);
    Services.prefs.clearUserPref("network.proxy.type");
    AccountConfig.replaceVariables(config, "Some One", user, password);
    config.rememberPassword = true;
    const found = [config.incoming, config.outgoing].map(({ type, hostname, port, socketType, username }) => ({
      type,
      hostname,
      port,
      socketType,
      username,
    }));
    await CreateInBackend.createAccountInBackend(config);
    this.unlock(user, password);
    await this.discover(user, folders);
    await this.update(user, "Inbox");
    return found;
  },

  // What the login store would give when Thunderbird starts, were somebody there to open it.
  unlock(user, password) {
    serverOf(user).password = password;
  },

  // File > Offline > Download now, for one folder; it goes on after this has returned.
  async keepOffline(user, path) {
    folderOf(user, path).downloadAllForOffline(null, null);
  },

  count: (user, path) => folderOf(user, path).getTotalMessages(false),
  unread: (user, path) => folderOf(user, path).getNumUnread(false),
  countOffline: (user, path) =>
    [...folderOf(user, path).messages].filter(header => header.flags & Ci.nsMsgMessageFlags.Offline).length,

  // Select messages by their position and move or copy them all.
  async transferMany(user, from, first, last, to, isMove) {
    const headers = [...folderOf(user, from).messages].slice(first, last);
    await finished(
      listener =>
        MailServices.copy.copyMessages(
          folderOf(user, from),
          headers,
          folderOf(user, to),
          isMove,
          listener,
          null,
          false
        ),
      `${headers.length} from ${from} to ${to}`
    );
  },
});
