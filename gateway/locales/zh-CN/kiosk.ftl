# 自助血压测量屏。一行一条；花括号里只放参数名。结果说明有待连锁临床负责人审核（result-sign-off）。
brand = 血压自测
language-other = English
end-now = 现在结束
back = 返回
foot-note = 仅供健康参考，不能代替医生的诊断。
page-lost = 请稍候，屏幕马上恢复。

start-title = 您好，请选择一种方式
start-member = 我是会员
start-member-note = 用会员卡号，结果可存入您的健康档案
start-anonymous = 不留姓名测量
start-anonymous-note = 只给您看结果，什么都不保存

code-title = 请输入会员卡号
code-label = 会员卡号
code-malformed = 卡号由 4 到 32 位字母、数字或短横线组成，请检查后重新输入。
code-submit = 确定
code-delete = 删除一位
code-letters = 字母
code-digits = 数字
code-keypad = 屏幕键盘

unknown-title = 没有找到这个卡号
unknown-note = 可能输错了，也可能本店还没有您的资料。您可以重新输入，或者不留姓名测量。
unknown-retry = 重新输入卡号

greet-title = { $name }，您好
greet-granted = 您已同意保存，测量结果会存入您的健康档案。
greet-begin = 是我，开始测量
greet-not-me = 不是我
greet-without = 这次不保存
consent-nothing-kept = 您还没有同意保存测量结果，所以不会保存任何数据。
consent-question = 这次的结果怎么办？
consent-without = 只测量，不保存
consent-without-note = 结果只显示在这里
consent-seal = 先留着，等我确认
consent-seal-note = 封存在本机，不发送；72 小时内没有您的同意就销毁

busy-title = 请稍等一下
busy-note = 血压计还连着上一次测量。断开后会自动继续。

failed-title = 现在不能测量
failed-note = 请告诉店员，我们会帮您解决。

prepare-title = 测量前，请这样准备
prepare-rest = 安静坐好，先休息 5 分钟
prepare-posture = 靠好椅背，双脚平放，不要跷腿
prepare-arm = 露出上臂，手臂放在桌上，与心脏同高
prepare-cuff = 袖带松紧以能插进两指为宜，下缘在肘窝上方两指
prepare-arm-note = 透析内瘘、乳腺手术或水肿的一侧不要测，请用另一侧。
prepare-wait-note = 半小时内吸烟、喝咖啡、运动过，请先休息半小时再测；请先去洗手间。
prepare-ready = 我准备好了

measure-title = 请按血压计的开始键
measure-note = 放松，不要说话，也不要动。测完后结果会自动显示。
measure-failed = 刚才没有测出结果。请坐好，检查袖带，再按一次开始键。
measure-help = 几次都没有测出结果，请店员帮您看一下袖带。
measure-number = 第 { $number } 次测量
measure-earlier = 前面的结果
measure-finish = 不再测了，看结果

gap-title = 请休息一下，再测一次
gap-note = 坐着别动，袖带不用取下。不说话，慢慢呼吸。
gap-left = 还有 { $seconds } 秒
gap-taken = 刚才测得

severe-title = 请坐下，安静休息
severe-note = 这次的数值很高。休息后再测两次，才能知道准不准。请留在座位上。
severe-left = 还要休息 { $minutes }

symptom-question = 您现在有下面的情况吗？
symptom-list = 胸痛、脸或手脚一侧无力、说话不清、神志不清、晕倒、坐着也喘、突然看不见、从未有过的剧烈头痛
symptom-do = 只要有一项，请马上告诉店员，拨打 120。

result-title = 您的血压
result-systolic = 高压（收缩压）
result-diastolic = 低压（舒张压）
result-unit = mmHg
result-pulse = 脉搏每分钟 { $pulse } 次
result-mean = { $count } 次测量的平均值
result-single = 只有 1 次测量，建议再测一次
result-irregular = 测量时脉搏不太规则，请告诉店员，就诊时也请告诉医生。
result-unconfirmed = 很高的数值还没有复测。请休息 5 分钟后再测。
result-unusable = 这次没有得到可用的结果
result-unusable-note = 请店员帮您看一下袖带和坐姿，再测一次。
result-medicine = 请不要自行改变用药。
result-sign-off = 说明文字待本连锁临床负责人审核。
result-saving = 正在保存…
result-saved = 已保存在本机，正在发送
result-saved-offline = 已保存在本机，恢复联网后发送
result-waiting = 本机还有 { $count } 条记录等待发送
result-sent = 已送达您的健康档案
result-sealed = 已封存在本机，72 小时内等您确认
result-aside = 有一次测量没有通过检查，请告诉店员
result-kept-nowhere = 没有保存任何数据
result-done = 看好了，结束

class-low-word = 偏低
class-low-advice = 请先坐下或躺下，起身要慢。如果头晕、出冷汗或眼前发黑，请马上告诉店员。近日请咨询医生或药师。
class-normal-word = 正常范围
class-normal-advice = 请保持现在的好习惯，定期测量。
class-high-normal-word = 略高
class-high-normal-advice = 比理想值稍高一点。少吃盐、多活动、睡好觉，过几周再测一次。
class-raised-word = 偏高
class-raised-advice = 一次测量还不能下结论。请在四周内另选两天再测，并安排时间看医生。
class-high-word = 明显偏高
class-high-advice = 请在本周内去看医生，并另选一天再测一次。
class-very-high-word = 很高
class-very-high-advice = 请今天就去看医生。请先坐着休息，不要独自离开，不要开车。

warning-title = 您还在看吗？
warning-note = { $seconds } 秒后清除屏幕，保护您的隐私。
warning-longer = 再看一会儿

problem-title = 这个请求不能处理
problem-forbidden = 这个页面只能在本机打开。
problem-stale = 页面已经过期，请重新打开。
problem-form = 提交的内容不完整或太长。
problem-not-found = 没有这个页面。
problem-busy = 打开的页面太多，请关闭一些。
problem-home = 回到开始页
