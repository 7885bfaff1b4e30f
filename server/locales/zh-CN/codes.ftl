# 各类代码的用词：键为枚举前缀加代码。

severity-emergency = 急救
severity-critical = 危急
severity-high = 高
severity-moderate = 中
severity-low = 低
severity-info = 提示
severity-pending = 待复测

sex-female = 女
sex-male = 男
sex-unknown = –
place-home = 家庭
place-store = 门店

condition-hypertension = 高血压
condition-diabetes = 糖尿病
condition-ckd = 慢性肾病
condition-atrial-fibrillation = 房颤
condition-pregnant = 妊娠
condition-postpartum = 产后

drug-antihypertensive = 降压药
drug-beta-blocker = β受体阻滞剂
drug-insulin = 胰岛素
drug-insulin-long = 长效胰岛素
drug-sulfonylurea = 磺脲类
drug-alpha-glucosidase-inhibitor = α-糖苷酶抑制剂
drug-other = 其他

slot-none = 餐别未注明
slot-fasting = 空腹
slot-before-breakfast = 早餐前
slot-after-breakfast = 早餐后
slot-before-lunch = 午餐前
slot-after-lunch = 午餐后
slot-before-dinner = 晚餐前
slot-after-dinner = 晚餐后
slot-bedtime = 睡前
slot-night = 夜间
slot-random = 随机
slot-short-none = 未注明
slot-short-fasting = 空腹
slot-short-before-breakfast = 早餐前
slot-short-after-breakfast = 早餐后
slot-short-before-lunch = 午餐前
slot-short-after-lunch = 午餐后
slot-short-before-dinner = 晚餐前
slot-short-after-dinner = 晚餐后
slot-short-bedtime = 睡前
slot-short-night = 夜间
slot-short-random = 随机

flag-body-movement = 测量时身体移动
flag-cuff-loose = 袖带过松
flag-irregular-pulse = 脉搏不齐
flag-improper-position = 姿势不当
flag-pulse-above-upper = 脉搏高于量程
flag-pulse-below-lower = 脉搏低于量程
flag-battery-low = 电量低
flag-sensor-malfunction = 传感器故障
flag-sample-insufficient = 血样不足
flag-strip-insertion-error = 试纸插入有误
flag-strip-type-incorrect = 试纸型号不符
flag-result-too-high = 高于量程
flag-result-too-low = 低于量程
flag-temp-too-high = 温度过高
flag-temp-too-low = 温度过低
flag-read-interrupted = 试纸过早拔出
flag-general-fault = 仪器故障
flag-time-fault = 仪器时钟故障
flag-not-rested = 未静息
flag-calibration-overdue = 仪器超过校准期
flag-measurement-error = 测量失败
flag-date-repaired = 仪器日期已修正
flag-questionable = 测量结果存疑
flag-poor-signal = 信号不佳
flag-status-undeclared = 未声明的状态已忽略

symptom-chest-pain = 胸痛
symptom-face-arm-speech = 口角歪斜、手臂无力或言语不清
symptom-confusion = 意识模糊
symptom-fainting = 晕厥
symptom-breathless-at-rest = 静息时气促
symptom-vision-loss = 突然看不见
symptom-worst-headache = 从未有过的剧烈头痛
symptom-dizziness = 头晕
symptom-vomiting = 呕吐
symptom-deep-breathing = 呼吸深大
symptom-acetone-breath = 呼气有烂苹果味
symptom-drowsiness = 嗜睡
symptom-needed-help = 低血糖需他人帮助
symptom-seizure = 抽搐
symptom-unconscious = 昏迷

purpose-care-record = 保存和评估读数
purpose-pharmacist-call = 药师致电
purpose-alert-message = 异常读数消息
purpose-reminder = 提醒
purpose-family-contact = 联系家属
purpose-marketing = 营销
purpose-statistics = 统计

time-quality-meter-ok = 仪器时钟
time-quality-skew-corrected = 仪器时钟，已校正
time-quality-skew-uncertain = 仪器时钟，校正量不确定
time-quality-offset-missing = 仪器时钟，偏移未知
time-quality-received-time-used = 采用接收时间（仪器时间不可用）

kind-bp = 血压
kind-glucose = 血糖
kind-weight = 体重
kind-temperature = 体温
kind-oxygen-saturation = 血氧饱和度

site-armpit = 腋下
site-body = 体表
site-ear = 耳部
site-finger = 手指
site-gastro-intestinal-tract = 胃肠道
site-mouth = 口腔
site-rectum = 直肠
site-toe = 脚趾
site-tympanum = 鼓膜

meter-kind-blood-pressure = 血压
meter-kind-glucose = 血糖
meter-kind-weight = 体重
meter-kind-temperature = 体温
meter-kind-oxygen-saturation = 血氧饱和度
meter-role-personal = 会员自有
meter-role-store-shared = 门店共用

support-supported = 支持
support-recognised-unsupported = 已识别，不支持
support-standard = 按标准读取

rule-bp-01 = 血压很高，待复测
rule-bp-02 = 血压很高
rule-bp-03 = 血压很高，并有危险症状
rule-bp-04 = 不同日期在门店测得血压偏高
rule-bp-05 = 血压明显偏高
rule-bp-06 = 血压偏低
rule-gl-01 = 血糖偏低
rule-gl-02 = 血糖很低
rule-gl-03 = 血糖很高
rule-gl-04 = 24 小时内两次血糖偏高
rule-sy-01 = 报告了危险症状

task-kind-approach = 到自助机旁当面询问
task-kind-call = 致电
task-kind-same-day-doctor = 协助当日就医
task-kind-re-measure = 复测
task-state-open = 待处理
task-state-taken = 已领取
task-state-done = 已完成

outcome-reached-advised = 已联系并提醒
outcome-seen-in-person = 已当面沟通
outcome-spoke-to-family = 已与授权家属沟通
outcome-referred = 已建议转诊
outcome-called-emergency = 已呼叫急救
outcome-refill-booked = 已约续方
outcome-re-measure-booked = 已约复测
outcome-callback-agreed = 已约回电
outcome-no-answer = 无人接听
outcome-wrong-number = 号码有误
outcome-refused = 拒绝
outcome-under-care = 已在就医
outcome-in-hospital = 住院中
outcome-moved = 已迁走
outcome-not-rested = 测量前未静息
outcome-false-alarm-device = 误报：设备原因
outcome-duplicate = 重复

month-1 = 1月
month-2 = 2月
month-3 = 3月
month-4 = 4月
month-5 = 5月
month-6 = 6月
month-7 = 7月
month-8 = 8月
month-9 = 9月
month-10 = 10月
month-11 = 11月
month-12 = 12月

mark-unconfirmed = 未复测
mark-recovered = 之后的数值已恢复
mark-repeated = 再次出现
mark-doubtful = 需谨慎看待
mark-adult-standards-do-not-apply = 未成年：不适用成人标准
mark-pregnancy-limits = 按孕期阈值

closed-cleared = 测量值已恢复
closed-resolved = 由工作人员关闭
closed-consent-withdrawn = 已撤回授权

audit-member-add = 新建会员
audit-member-read = 打开档案
audit-member-open = 打开档案
audit-member-conditions = 修改病种
audit-member-drugs = 修改用药类别
audit-consent-grant = 授权
audit-consent-withdraw = 撤回授权
audit-meter-bind = 绑定仪器
audit-meter-unbind = 解除绑定
audit-meter-vouch = 确认仪器从来只有本人用
audit-alert-change = 预警变更
audit-task-change = 任务变更
audit-symptom-record = 记录症状
audit-alert-read = 打开预警
audit-task-read = 打开任务
audit-tasks-read = 出现在任务列表
audit-alerts-read = 出现在预警列表
audit-queue-read = 出现在队列
audit-readings-read = 查看读数
audit-sessions-read = 查看测量记录
audit-reading-store = 读数入库
audit-reading-refuse = 读数被拒收
audit-consent-read = 查看授权
audit-member-search = 按卡号查到
audit-audit-read = 查看审计记录

cancelled-consent-withdrawn = 已取消：撤回授权
cancelled-alert-resolved = 已取消：预警已关闭
